export { describeLockStoreContract, type LockStoreHarness } from './lock-store.contract.js';
