import { createRequire } from 'node:module';
import {
  Body,
  Controller,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestModule,
  Post,
  Req,
  Res,
} from '@nestjs/common';
import { newOrder, type OrderRequest, RETENTION_MS } from './order.js';

interface ExpressIdempotency {
  idempotency(options: object): (request: object, response: object, next: () => void) => void;
  getSharedIdempotencyService(): { isHit(request: object): boolean };
}
interface Adapter {
  connect(): Promise<void>;
}
interface RedisAdapterModule {
  readonly default: new (options: object) => Adapter;
}

/** It answers a replay itself and calls the handler all the same: the handler asks and returns, as its README says. */
export async function expressIdempotencyVariant(redisUrl: string): Promise<DynamicModule> {
  const require = createRequire(import.meta.url);
  const peer = require('express-idempotency') as ExpressIdempotency;
  const { default: RedisAdapter } = require('express-idempotency-redis-adapter') as RedisAdapterModule;
  const dataAdapter = new RedisAdapter({ connectionConfig: { url: redisUrl }, ttl: RETENTION_MS / 1000 });
  await dataAdapter.connect();

  @Controller('orders')
  class OrdersController {
    @Post()
    place(
      @Body() body: OrderRequest,
      @Req() request: object,
      @Res() response: { status(code: number): { json(body: object): void } },
    ): void {
      if (!peer.getSharedIdempotencyService().isHit(request)) response.status(201).json(newOrder(body));
    }
  }

  class PeerModule implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer.apply(peer.idempotency({ dataAdapter })).forRoutes(OrdersController);
    }
  }
  return { module: PeerModule, controllers: [OrdersController] };
}
