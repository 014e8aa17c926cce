export type { OpenedSessionStore, SessionStoreHarness } from './contract-subject.js';
export { describeEpochStoreContract, type EpochStoreHarness } from './epoch-store.contract.js';
export { describeSessionStoreContract } from './session-store.contract.js';
