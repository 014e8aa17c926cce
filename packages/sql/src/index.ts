export { Inbox } from './inbox/inbox.service.js';
export type { MigrationSet } from './migrations/migration-set.js';
export { RowLease } from './row-lease/row-lease.js';
export { RowLeases } from './row-lease/row-leases.service.js';
export {
  CommitOutcomeUnknownError,
  MessageIdInvalidError,
  MigrationError,
  TransactionAbortedError,
  TransactionEndedError,
  TransactionMisuseError,
  TransactionRequiredError,
} from './sql.errors.js';
export { SqlModule } from './sql.module.js';
export type { SqlModuleDrivers } from './sql.module-definition.js';
export type {
  BeginMode,
  MigrationMode,
  Propagation,
  SqlModuleOptions,
  TransactionOptions,
} from './sql.options.js';
export { Sql } from './sql.service.js';
export { isConflict, isLockTimeout } from './sql-conflicts.js';
export {
  type BeginOptions,
  type IsolationLevel,
  type MigrationStatements,
  type NotificationListener,
  SQL_DRIVER,
  type SqlDriver,
  type SqlSession,
} from './sql-driver.js';
export type { SqlDialect, SqlTransaction } from './sql-transaction.js';
export { TRANSACTION_BRIDGE, type TransactionBridge } from './transaction-bridge.js';
export { Transactional } from './transactional.decorator.js';
