import type { Sql, SqlDialect } from '@lockstep/sql';
import { type MariaDbServer, type PostgresServer, startMariaDb, startPostgres } from '@lockstep/testing';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';

/** What the specs must know of a server that is none of the driver's business. */
export interface SqlServer {
  readonly name: SqlDialect;
  /** An empty database for the `describe` around. */
  use(): { readonly url: string };
  /** A server of one's own. */
  start(): Promise<PostgresServer | MariaDbServer>;
  /** Minutes from now, by the clock of the database. */
  inMinutes(minutes: number): string;
}

const postgres: SqlServer = {
  name: 'postgres',
  use: usePostgres,
  start: () => startPostgres(),
  inMinutes: (minutes) => `(clock_timestamp() + ${minutes} * interval '1 minute')`,
};

const mariadb: SqlServer = {
  name: 'mariadb',
  use: useMariaDb,
  start: () => startMariaDb(),
  inMinutes: (minutes) => `(UTC_TIMESTAMP(6) + INTERVAL ${minutes} MINUTE)`,
};

/** For `describe.each`: the same facts on both. */
export const SQL_SERVERS: readonly SqlServer[] = [postgres, mariadb];

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
