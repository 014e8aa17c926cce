export type { IdempotencyStoreHarness } from './contract-subject.js';
export { describeIdempotencyStoreContract } from './idempotency-store.contract.js';
