import { createRequire } from 'node:module';
import { Body, Controller, type DynamicModule, Post } from '@nestjs/common';
import { newOrder, type Order, type OrderRequest, RETENTION_MS } from './order.js';

interface NodeIdempotency {
  readonly NodeIdempotencyModule: { forRootAsync(options: object): DynamicModule };
  Idempotent(): MethodDecorator;
}

class PeerModule {}

/** Its peer range ends at Nest 10; it runs on Nest 12 all the same. */
export function nodeIdempotencyVariant(redisUrl: string): DynamicModule {
  const peer = createRequire(import.meta.url)('@node-idempotency/nestjs') as NodeIdempotency;

  @Controller('orders')
  class OrdersController {
    @Post()
    @peer.Idempotent()
    place(@Body() request: OrderRequest): Order {
      return newOrder(request);
    }
  }

  const storage = { adapter: 'redis', options: { url: redisUrl } };
  return {
    module: PeerModule,
    imports: [peer.NodeIdempotencyModule.forRootAsync({ storage, cacheTTLMS: RETENTION_MS })],
    controllers: [OrdersController],
  };
}
