export { StatementQueue } from '../statement-queue.js';
export type { PgClient, PgNotification, PgPool, PgPoolClient, PgResult } from './pg-client.js';
export { asStoreError, within } from './pg-connection.js';
export { type PgDriverFactory, type PgDriverOptions, pgDriver } from './pg-driver.js';
export { endsConnection, PgConnectionLostError, PgTimeoutError } from './pg-errors.js';
export { pgTransaction } from './pg-transaction.js';
export { PostgresSqlDriver } from './postgres-sql-driver.js';
