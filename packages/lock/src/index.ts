export { DistributedLock, type DistributedLockOptions, type LockKey } from './distributed-lock.decorator.js';
export { MemoryLockStore, memoryLockStore } from './drivers/memory/memory-lock-store.js';
export { currentLease } from './lease/current-lease.js';
export type { Lease } from './lease/lease.js';
export {
  type LeaseLoss,
  LockBusyError,
  LockKeyError,
  LockLostError,
  LockReentryError,
  LockShuttingDownError,
} from './lock.errors.js';
export { LockModule } from './lock.module.js';
export type { LockModuleOptions, LockOptions } from './lock.options.js';
export { LockService } from './lock.service.js';
export {
  type AcquireRequest,
  type Busy,
  type ExtendOutcome,
  type ExtendRequest,
  type Grant,
  LOCK_STORE,
  type LockStore,
  type ReleaseOutcome,
  type ReleaseRequest,
} from './lock-store.js';
