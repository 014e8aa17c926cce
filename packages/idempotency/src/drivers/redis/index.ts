import { ConfigurationError, type DriverProvider } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type { IdempotencyStore } from '../../idempotency-store.js';
import { RedisIdempotencyStore } from './redis-idempotency-store.js';

export { RedisIdempotencyStore } from './redis-idempotency-store.js';

/**
 * Records in the Redis of `RedisModule`. One round trip per call.
 *
 * @throws ConfigurationError at boot, where `RedisModule` is not imported
 */
export function redisIdempotencyStore(): DriverProvider<IdempotencyStore> {
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }],
    useFactory: (redis: RedisConnection | undefined) => {
      if (redis) return new RedisIdempotencyStore(redis);
      throw new ConfigurationError('redisIdempotencyStore() needs RedisModule.forRoot(…) among the imports.');
    },
  };
}
