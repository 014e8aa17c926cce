import type { DriverProvider } from '@lockstep/core';
import { type LockStore, memoryLockStore } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';

export interface MallLocks {
  readonly store: DriverProvider<LockStore>;
  /** Whether all instances of the mall have them in common. */
  readonly areShared: boolean;
}

/** Where the mall keeps its locks; nothing else of it knows. */
export function mallLocks(redisUrl: string | undefined): MallLocks {
  return redisUrl ? { store: redisLockStore(), areShared: true } : { store: memoryLockStore(), areShared: false };
}
