export type { OpenedSessionStore, SessionStoreHarness } from './contract-subject.js';
export { describeSessionStoreContract } from './session-store.contract.js';
export { describeEpochStoreContract, type EpochStoreHarness } from './epoch-store.contract.js';
