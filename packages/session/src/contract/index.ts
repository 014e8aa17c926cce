export { describeSessionStoreContract, type SessionStoreHarness } from './session-store.contract.js';
