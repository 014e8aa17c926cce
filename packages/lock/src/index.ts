export {
  DistributedLock,
  type DistributedLockOptions,
  type LockKey,
  type OnBusy,
} from './distributed-lock.decorator.js';
export { MemoryLockStore, memoryLockStore } from './drivers/memory/memory-lock-store.js';
export { FenceMisuseError, StaleFenceError } from './fence/fence.errors.js';
export { MemoryFence } from './fence/memory-fence.js';
export { currentLease } from './lease/current-lease.js';
export type { Holding, LeaseSet } from './lease/lease.js';
export { LeaseScope } from './lease/lease-scope.js';
export { Lease } from './lease.decorator.js';
export {
  type LeaseLoss,
  LockBusyError,
  LockKeyError,
  LockLostError,
  LockModeError,
  LockReentryError,
  LockShuttingDownError,
} from './lock.errors.js';
export { LockModule } from './lock.module.js';
export type { LockMode, LockModuleOptions, LockOptions } from './lock.options.js';
export { type HeldBy, type LockKeys, LockService } from './lock.service.js';
export type { LockEvent, LockListener } from './lock-events.js';
export {
  type AcquireRequest,
  type Busy,
  type ExtendOutcome,
  type ExtendRequest,
  type Fairness,
  type Grant,
  LOCK_STORE,
  type LockHolder,
  type LockState,
  type LockStore,
  type ReleaseOutcome,
  type ReleaseRequest,
  type StoreAbilities,
  type StoreLoss,
} from './lock-store.js';
