import { ConfigurationError, type DriverProvider, Incidents } from '@lockstep/core';
import type { InjectionToken, OptionalFactoryDependency } from '@nestjs/common';
import { type ResolvedSqlOptions, SQL_OPTIONS } from '../../sql.options.js';
import type { SqlDriver } from '../../sql-driver.js';
import { type MariaDbCallbackPool, type MariaDbPool, promised } from './mariadb-client.js';
import { MariaDbSqlDriver } from './mariadb-sql-driver.js';

export type MariaDbDriverOptions =
  | {
      /**
       * `mariadb://user@host:3306/database`, or `mysql://…`. The pool is made by `mysql2`, which must be installed, and
       * closed at shutdown. Its sessions are strict, at UTC and read committed, and compare text by its bytes.
       */
      readonly url: string;
      /** Most connections at a time. @default 10 */
      readonly maxConnections?: number;
    }
  | {
      /**
       * A pool of the application, of `mysql2` or `mysql2/promise`, which closes it itself. Its sessions stay as they are
       * and must be strict; transactions that name no isolation level are begun at read committed, single statements run
       * at the session's own. Give it a `connectTimeout` below the command timeout.
       */
      readonly pool: MariaDbPool | MariaDbCallbackPool;
    };

/** The options made from what the container holds, such as a `ConfigService`. */
export interface MariaDbDriverFactory {
  readonly inject?: readonly (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of the injected values are known to the factory alone
  useFactory(...dependencies: any[]): MariaDbDriverOptions | Promise<MariaDbDriverOptions>;
}

// Each is kept by the server, which has 16382 for all of its clients.
const PREPARED_PER_CONNECTION = 200;

/**
 * MariaDB 10.6 or later for `SqlModule.forRoot({ driver: mariadbDriver({ url }) })`. Connects when it is first needed.
 *
 * @throws ConfigurationError at boot when neither a pool nor the URL of a MariaDB is given, or `mysql2` is not installed
 */
export function mariadbDriver(options: MariaDbDriverOptions | MariaDbDriverFactory): DriverProvider<SqlDriver> {
  const factory: MariaDbDriverFactory = 'useFactory' in options ? options : { useFactory: () => options };
  return {
    inject: [Incidents, SQL_OPTIONS, ...(factory.inject ?? [])],
    useFactory: async (incidents: Incidents, resolved: ResolvedSqlOptions, ...dependencies: unknown[]) =>
      createDriver(await factory.useFactory(...dependencies), incidents, resolved),
  };
}

async function createDriver(
  options: MariaDbDriverOptions,
  incidents: Incidents,
  resolved: ResolvedSqlOptions,
): Promise<SqlDriver> {
  if ('pool' in options && options.pool) {
    return new MariaDbSqlDriver(promised<MariaDbPool>(options.pool), { owned: false, incidents });
  }
  const { url, maxConnections = 10 } = options as { url?: unknown; maxConnections?: number };
  if (typeof url !== 'string' || !/^(?:mariadb|mysql):\/\//.test(url)) {
    // Without the value: a URL carries a password.
    throw new ConfigurationError("mariadbDriver needs a `pool`, or a `url` that begins with 'mariadb://'.");
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1) {
    throw ConfigurationError.option('maxConnections', maxConnections, 'a whole number from 1');
  }
  const createPool = await importCreatePool();
  const pool = createPool({
    uri: url,
    connectionLimit: maxConnections,
    connectTimeout: resolved.commandTimeoutMs,
    charset: 'UTF8MB4_BIN',
    timezone: 'Z',
    maxPreparedStatements: PREPARED_PER_CONNECTION,
  });
  return new MariaDbSqlDriver(pool, { owned: true, incidents });
}

async function importCreatePool(): Promise<typeof import('mysql2/promise').createPool> {
  try {
    return (await import('mysql2/promise')).default.createPool;
  } catch (cause) {
    throw new ConfigurationError('mariadbDriver({ url }) needs the package mysql2; install it, or pass a pool.', cause);
  }
}
