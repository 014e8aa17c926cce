import type { DriverProvider } from '@lockstep/core';
import type { LockStore } from '@lockstep/lock';
import { postgresLockStore } from '@lockstep/lock/postgres';
import { redisLockStore } from '@lockstep/lock/redis';

/** Sets the mall apart from others on the same servers. */
export const NAMESPACE = 'mall';

export interface MallLocks {
  readonly store: DriverProvider<LockStore>;
  /** Whether a lock ends with its lease even if its holder only stands still; else it ends with the holder's connection. */
  readonly expire: boolean;
}

/**
 * Where the mall keeps its locks; nothing else of it knows. All instances have them in common, and one source of fences:
 * two sources could give the same fence to two instances.
 */
export function mallLocks({ databaseUrl, redisUrl }: { databaseUrl: string; redisUrl: string | undefined }): MallLocks {
  return redisUrl
    ? { store: redisLockStore(), expire: true }
    : { store: postgresLockStore({ url: databaseUrl, namespace: NAMESPACE }), expire: false };
}
