export type {
  MariaDbCallbackClient,
  MariaDbCallbackPool,
  MariaDbClient,
  MariaDbPool,
  MariaDbPoolClient,
} from './mariadb-client.js';
export { asStoreError, within } from './mariadb-connection.js';
export { type MariaDbDriverFactory, type MariaDbDriverOptions, mariadbDriver } from './mariadb-driver.js';
export { endsConnection, MariaDbConnectionLostError, MariaDbTimeoutError } from './mariadb-errors.js';
export { MariaDbSqlDriver } from './mariadb-sql-driver.js';
export { mariadbTransaction } from './mariadb-transaction.js';
