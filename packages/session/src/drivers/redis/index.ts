import { ConfigurationError, type DriverProvider, Incidents } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type { SessionStore } from '../../session-store.js';
import { RedisSessionStore } from './redis-session-store.js';

export { RedisEpochStore, redisEpochStore } from './redis-epoch-store.js';
export { RedisSessionStore } from './redis-session-store.js';

/**
 * Sessions in the Redis of `RedisModule`: a single server, one behind Sentinel, or a Cluster. One round trip per call.
 *
 * @throws ConfigurationError at boot, where `RedisModule` is not imported
 */
export function redisSessionStore(): DriverProvider<SessionStore> {
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }, Incidents],
    useFactory: (redis: RedisConnection | undefined, incidents: Incidents) => {
      if (redis) return new RedisSessionStore(redis, incidents);
      throw new ConfigurationError('redisSessionStore() needs RedisModule.forRoot(…) among the imports.');
    },
  };
}
