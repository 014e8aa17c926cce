import { RedisConnection } from '@lockstep/redis';
import { Sql } from '@lockstep/sql';
import { Module } from '@nestjs/common';
import { CartController } from './cart.controller.js';
import { CartService } from './cart.service.js';
import { CART_STORE } from './cart-store.js';
import { PostgresCartStore } from './postgres-cart-store.js';
import { RedisCartStore } from './redis-cart-store.js';

@Module({
  controllers: [CartController],
  providers: [
    CartService,
    {
      provide: CART_STORE,
      inject: [{ token: RedisConnection, optional: true }, Sql],
      useFactory: (redis: RedisConnection | undefined, sql: Sql) =>
        redis ? new RedisCartStore(redis) : new PostgresCartStore(sql),
    },
  ],
  exports: [CartService],
})
export class CartModule {}
