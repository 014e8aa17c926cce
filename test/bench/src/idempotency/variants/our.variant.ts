import { IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import { Body, Controller, type DynamicModule, Post } from '@nestjs/common';
import { newOrder, type Order, type OrderRequest } from './order.js';

@Controller('orders')
class OrdersController {
  @Post()
  @Idempotent({ required: false })
  async place(@Body() request: OrderRequest): Promise<Order> {
    return newOrder(request);
  }
}

class OurModule {}

export function ourVariant(redisUrl: string): DynamicModule {
  return {
    module: OurModule,
    imports: [
      RedisModule.forRoot({ url: redisUrl, namespace: 'bench' }),
      IdempotencyModule.forRoot({
        store: redisIdempotencyStore(),
        scope: 'global',
        secret: 'a secret that is long enough for a measurement',
      }),
    ],
    controllers: [OrdersController],
  };
}
