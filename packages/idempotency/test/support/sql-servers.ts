import type { DriverProvider } from '@lockstep/core';
import type { Sql, SqlDialect, SqlDriver } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { type MariaDbServer, type PostgresServer, startMariaDb, startPostgres } from '@lockstep/testing';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';

/** What the specs must know of a server that is none of the driver's business. */
export interface SqlServer {
  readonly name: SqlDialect;
  /** An empty database for the `describe` around. */
  use(): { readonly url: string };
  /** A server of one's own. */
  start(): Promise<PostgresServer | MariaDbServer>;
  driver(url: string, maxConnections: number): DriverProvider<SqlDriver>;
  /** Minutes from now, by the clock of the database. */
  inMinutes(minutes: number): string;
  /** When each session of this database that waits for a lock has begun to; as `at`. */
  readonly waiters: string;
  /** One row for each session of this database that is in a transaction, but the one that asks. */
  readonly inTransaction: string;
}

const postgres: SqlServer = {
  name: 'postgres',
  use: usePostgres,
  start: () => startPostgres(),
  driver: (url, maxConnections) => pgDriver({ url, maxConnections }),
  inMinutes: (minutes) => `(clock_timestamp() + ${minutes} * interval '1 minute')`,
  waiters: `SELECT query_start::text AS at FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  inTransaction: `SELECT 1 AS one FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'`,
};

const TRX = `information_schema.innodb_trx AS trx JOIN information_schema.processlist AS session
    ON session.id = trx.trx_mysql_thread_id WHERE session.db = DATABASE() AND session.id <> CONNECTION_ID()`;

const mariadb: SqlServer = {
  name: 'mariadb',
  use: useMariaDb,
  start: () => startMariaDb(),
  driver: (url, maxConnections) => mariadbDriver({ url, maxConnections }),
  inMinutes: (minutes) => `(UTC_TIMESTAMP(6) + INTERVAL ${minutes} MINUTE)`,
  waiters: `SELECT CAST(trx.trx_wait_started AS CHAR) AS at FROM ${TRX} AND trx.trx_state = 'LOCK WAIT'`,
  inTransaction: `SELECT 1 AS one FROM ${TRX}`,
};

/** For `describe.each`: the same facts on both. */
export const SQL_SERVERS: readonly SqlServer[] = [postgres, mariadb];

export function serverOf(url: string): SqlServer {
  return url.startsWith('postgres') ? postgres : mariadb;
}

/** Time cannot be set at a server, but the end of a lease can. */
export async function endLease(sql: Sql, id: string): Promise<void> {
  await passTime(sql, 'lease_until', id);
}

export async function endRetention(sql: Sql, id: string): Promise<void> {
  await passTime(sql, 'expires_at', id);
}

async function passTime(sql: Sql, column: string, id: string): Promise<void> {
  const { inMinutes } = sql.dialect === 'postgres' ? postgres : mariadb;
  const text = `UPDATE lockstep_idempotency SET ${column} = ${inMinutes(-1)} WHERE id = $1 AND ${column} IS NOT NULL`;
  await sql.execute(text, [id]);
}
