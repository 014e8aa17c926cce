import { ConfigurationError, type DriverProvider, Incidents } from '@lockstep/core';
import type { InjectionToken, OptionalFactoryDependency } from '@nestjs/common';
import { type ResolvedSqlOptions, SQL_OPTIONS } from '../../sql.options.js';
import type { SqlDriver } from '../../sql-driver.js';
import type { PgPool } from './pg-client.js';
import { PostgresSqlDriver } from './postgres-sql-driver.js';

export type PgDriverOptions =
  | {
      /** `postgres://user@host:5432/database`. The pool is made by `pg`, which must be installed, and closed at shutdown. */
      readonly url: string;
      /** Most connections at a time, beside one that waits for notifications where somebody does. @default 10 */
      readonly maxConnections?: number;
    }
  | {
      /**
       * A pool of the application, which closes it itself; whoever waits for notifications takes one of its connections.
       * Give it a `connectionTimeoutMillis`: without one, attempts
       * to reach a host that swallows packets hold its places until the system gives them up.
       */
      readonly pool: PgPool;
    };

/** The options made from what the container holds, such as a `ConfigService`. */
export interface PgDriverFactory {
  readonly inject?: readonly (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of the injected values are known to the factory alone
  useFactory(...dependencies: any[]): PgDriverOptions | Promise<PgDriverOptions>;
}

/**
 * Postgres 14 or later for `SqlModule.forRoot({ driver: pgDriver({ url }) })`. Connects when it is first needed.
 *
 * @throws ConfigurationError at boot when neither a pool nor the URL of a Postgres is given, or `pg` is not installed
 */
export function pgDriver(options: PgDriverOptions | PgDriverFactory): DriverProvider<SqlDriver> {
  const factory: PgDriverFactory = 'useFactory' in options ? options : { useFactory: () => options };
  return {
    inject: [Incidents, SQL_OPTIONS, ...(factory.inject ?? [])],
    useFactory: async (incidents: Incidents, resolved: ResolvedSqlOptions, ...dependencies: unknown[]) =>
      createDriver(await factory.useFactory(...dependencies), incidents, resolved),
  };
}

async function createDriver(
  options: PgDriverOptions,
  incidents: Incidents,
  resolved: ResolvedSqlOptions,
): Promise<SqlDriver> {
  if ('pool' in options && options.pool) return new PostgresSqlDriver(options.pool, false, incidents);
  const { url, maxConnections = 10 } = options as { url?: unknown; maxConnections?: number };
  if (typeof url !== 'string' || !/^postgres(ql)?:\/\//.test(url)) {
    // Without the value: a URL carries a password.
    throw new ConfigurationError("pgDriver needs a `pool`, or a `url` that begins with 'postgres://'.");
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1) {
    throw ConfigurationError.option('maxConnections', maxConnections, 'a whole number from 1');
  }
  const Pool = await importPool();
  const poolOf = (max: number): PgPool =>
    new Pool({ connectionString: url, max, connectionTimeoutMillis: resolved.commandTimeoutMs, keepAlive: true });
  return new PostgresSqlDriver(poolOf(maxConnections), true, incidents, poolOf(1));
}

async function importPool(): Promise<typeof import('pg').Pool> {
  try {
    return (await import('pg')).default.Pool;
  } catch (cause) {
    throw new ConfigurationError('pgDriver({ url }) needs the package pg; install it, or pass a pool.', cause);
  }
}
