import type { DriverProvider } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type { IdempotencyStore } from '../../idempotency-store.js';
import { RedisIdempotencyStore } from './redis-idempotency-store.js';

export { RedisIdempotencyStore } from './redis-idempotency-store.js';

/** Records in the Redis of `RedisModule`. One round trip per call. */
export function redisIdempotencyStore(): DriverProvider<IdempotencyStore> {
  return { inject: [RedisConnection], useFactory: (redis: RedisConnection) => new RedisIdempotencyStore(redis) };
}
