import { ConfigurationError, type DriverProvider, type Duration, durationMs, Incidents } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type { LockStore } from '../../lock-store.js';
import { RedisLockStore } from './redis-lock-store.js';

export interface RedisLockStoreOptions {
  /**
   * How long a key remembers its last fence after its lease. Within it fences rise even if the server's clock is set
   * back; after it they rise because the clock does.
   * @default '1h'
   */
  readonly fenceRetention?: Duration;
  /**
   * Grants a lock only when this many replicas have it, so that one of them may take the master's place. It costs a
   * round trip, and availability where they are away. Not on a Cluster.
   * @default none: a failover may forget the newest grants
   */
  readonly replicas?: number;
  /**
   * How long to wait for them; at most the command timeout of `RedisModule`.
   * @default '250ms'
   */
  readonly replicaTimeout?: Duration;
}

export interface ResolvedRedisLockOptions {
  readonly fenceRetentionMs: number;
  readonly replicas: { readonly replicas: number; readonly timeoutMs: number } | undefined;
}

/** @throws ConfigurationError naming the option and its value */
export function resolveRedisLockOptions(options: RedisLockStoreOptions): ResolvedRedisLockOptions {
  const { fenceRetention = '1h', replicas, replicaTimeout = '250ms' } = options;
  if (replicas !== undefined && !(Number.isInteger(replicas) && replicas >= 1)) {
    throw ConfigurationError.option('replicas', replicas, 'a whole number from 1');
  }
  const timeoutMs = durationMs(replicaTimeout, 'replicaTimeout', { minMs: 1, maxMs: 60_000 });
  return Object.freeze({
    fenceRetentionMs: durationMs(fenceRetention, 'fenceRetention', { minMs: 1_000 }),
    replicas: replicas === undefined ? undefined : Object.freeze({ replicas, timeoutMs }),
  });
}

/**
 * Locks on the Redis of `RedisModule`: a single server, one behind Sentinel, or a Cluster.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `RedisModule` is not imported
 */
export function redisLockStore(options: RedisLockStoreOptions = {}): DriverProvider<LockStore> {
  const resolved = resolveRedisLockOptions(options);
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }, Incidents],
    useFactory: (connection: RedisConnection | undefined, incidents: Incidents) => {
      if (!connection) {
        throw new ConfigurationError('redisLockStore() needs RedisModule.forRoot(…) among the imports.');
      }
      assertTimeouts(resolved, connection);
      return new RedisLockStore(connection, incidents, resolved);
    },
  };
}

function assertTimeouts({ replicas }: ResolvedRedisLockOptions, { commandTimeoutMs }: RedisConnection): void {
  if (replicas === undefined || replicas.timeoutMs < commandTimeoutMs) return;
  const bound = `shorter than the commandTimeout of RedisModule (${commandTimeoutMs} ms)`;
  throw ConfigurationError.option('replicaTimeout', replicas.timeoutMs, bound);
}
