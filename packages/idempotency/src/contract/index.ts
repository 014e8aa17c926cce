export {
  describeIdempotencyStoreContract,
  type IdempotencyStoreHarness,
} from './idempotency-store.contract.js';
