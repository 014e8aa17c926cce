export { describeLockStoreContract } from './lock-store.contract.js';
export type { LockStoreHarness } from './subject.js';
