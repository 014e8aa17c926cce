export type { LockClient, LockNotification } from './lock-client.js';
export type { PostgresLockFactory, PostgresLockOptions, PostgresLockServer } from './postgres-lock.options.js';
export { PostgresLockStore, postgresLockStore } from './postgres-lock-store.js';
export type { TransactionLock, TransactionLockOptions } from './transaction-lock.js';
