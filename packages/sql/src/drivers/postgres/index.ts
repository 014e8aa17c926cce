export type { PgClient, PgPool, PgPoolClient, PgResult } from './pg-client.js';
export { type PgDriverFactory, type PgDriverOptions, pgDriver } from './pg-driver.js';
export { pgTransaction } from './pg-transaction.js';
export { PostgresSqlDriver } from './postgres-sql-driver.js';
