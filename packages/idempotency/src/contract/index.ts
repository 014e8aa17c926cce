export type { IdempotencyStoreHarness } from './contract-subject.js';
export { describeIdempotencyStoreContract } from './idempotency-store.contract.js';
export {
  describeTransactionalStoreContract,
  type OpenTransactionalStore,
  type TransactionalStoreHarness,
} from './transactional-store.contract.js';
