import { ConfigurationError, type DriverProvider } from '@lockstep/core';
import { RedisConnection, type RedisScript } from '@lockstep/redis';
import type { EpochStore } from '../../epoch-store.js';
import { bumpEpochScript, readEpochScript } from './epoch.scripts.js';

/**
 * Revocation epochs, one string per user who was ever revoked; reads of one tick travel as one command. Holds what Redis
 * holds: if a failover or a flush loses an epoch, the sessions that it ended are good again until their time is over.
 */
export class RedisEpochStore implements EpochStore {
  private readonly bumpOne: RedisScript<{ group: string; ttlMs: number }, number>;
  private readonly readOne: RedisScript<{ group: string }, number>;

  /** What ends is sent before what looks: scripts of one tick go in the order in which they are made here. */
  constructor(redis: RedisConnection) {
    this.bumpOne = redis.script(bumpEpochScript(redis));
    this.readOne = redis.script(readEpochScript(redis));
  }

  read(group: string): Promise<number> {
    return this.readOne.run({ group });
  }

  bump(group: string, ttlMs: number): Promise<number> {
    return this.bumpOne.run({ group, ttlMs });
  }
}

/**
 * Revocation epochs in the Redis of `RedisModule`, for `sealedCookieStore({ epochs })`. One round trip per call.
 *
 * @throws ConfigurationError at boot, where `RedisModule` is not imported
 */
export function redisEpochStore(): DriverProvider<EpochStore> {
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }],
    useFactory: (redis: RedisConnection | undefined) => {
      if (redis) return new RedisEpochStore(redis);
      throw new ConfigurationError('redisEpochStore() needs RedisModule.forRoot(…) among the imports.');
    },
  };
}
