import type { SqlDialect, SqlTransaction } from '@lockstep/sql';
import { mariadbTransaction } from '@lockstep/sql/mariadb';
import { pgTransaction } from '@lockstep/sql/postgres';
import { type MariaDbServer, type PostgresServer, startMariaDb, startPostgres } from '@lockstep/testing';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import mysql from 'mysql2/promise';
import pg from 'pg';

/** A connection beside the application under test. */
export interface DirectClient {
  query(text: string): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

/** A transaction that somebody else has begun, as the application's own code does, and a handle on it. */
export interface ForeignTransaction {
  readonly tx: SqlTransaction;
  commit(): Promise<void>;
}

/** MariaDB's view of locks stays as it is while it is asked more often than every 100 ms. */
export const LOCK_POLL = { intervalMs: 150, timeoutMs: 10_000 };

/** What the specs must know of a server that is none of the driver's business. */
export interface TestServer {
  readonly name: SqlDialect;
  /** An empty database for the `describe` around. */
  use(): { readonly url: string };
  /** A server of one's own, on `port`. */
  start(port: number): Promise<PostgresServer | MariaDbServer>;
  urlAt(port: number): string;
  connect(url: string): Promise<DirectClient>;
  beginForeign(url: string): Promise<ForeignTransaction>;
  /** Gives the `id` of the session. */
  readonly sessionId: string;
  endSession(id: unknown): string;
  /** Gives a row while the session is there. */
  findSession(id: unknown): string;
  sleep(seconds: number): string;
  /** An insertion that waits at most a second for the locks of others. */
  insertSoon(name: string): string;
  /** Gives a row for each session of the database that waits for a lock. Asked at {@link LOCK_POLL}. */
  readonly findWaiting: string;
  /** Gives a row while a session of the database is at {@link sleep}. */
  readonly findSleeping: string;
  /** Ends the session that asks. */
  readonly endOwnSession: string;
  /** The server's clock, as its tables keep times. */
  readonly now: string;
  /** Messages that were received so many days ago. */
  fillInbox(messages: number, daysAgo: number): string;
  isolationOf(tx: SqlTransaction): Promise<unknown>;
  /** What comes with the error of a duplicate key, and of a column that is not there. */
  readonly duplicate: object;
  readonly unknownColumn: object;
  readonly unknownTable: object;
  readonly deadlock: object;
}

const postgres: TestServer = {
  name: 'postgres',
  use: usePostgres,
  start: (port) => startPostgres({ port }),
  urlAt: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
  connect: async (url) => {
    const client = new pg.Client(url);
    await client.connect();
    return { query: async (text) => (await client.query(text)).rows, end: () => client.end() };
  },
  beginForeign: async (url) => {
    const client = new pg.Client(url);
    await client.connect();
    await client.query('BEGIN');
    const commit = async () => {
      await client.query('COMMIT');
      await client.end();
    };
    return { tx: pgTransaction(client), commit };
  },
  sessionId: 'SELECT pg_backend_pid()::text AS id',
  endSession: (id) => `SELECT pg_terminate_backend(${id})`,
  findSession: (id) => `SELECT 1 FROM pg_stat_activity WHERE pid = ${id}`,
  sleep: (seconds) => `SELECT pg_sleep(${seconds})`,
  insertSoon: (name) => `SET lock_timeout = '1s'; INSERT INTO entry VALUES ('${name}')`,
  findWaiting: `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
  findSleeping: `SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`,
  endOwnSession: 'SELECT pg_terminate_backend(pg_backend_pid())',
  now: 'clock_timestamp()',
  fillInbox: (messages, daysAgo) => `INSERT INTO lockstep_inbox (day, consumer, message_id, received_at)
    SELECT current_date - ${daysAgo}, 'points', gen_random_uuid(), clock_timestamp() - interval '${daysAgo} days'
    FROM generate_series(1, ${messages})`,
  isolationOf: async (tx) => (await tx.query('SHOW transaction_isolation'))[0]?.transaction_isolation,
  duplicate: { code: '23505' },
  unknownColumn: { code: '42703', severity: 'ERROR' },
  unknownTable: { code: '42P01' },
  deadlock: { code: '40P01' },
};

const mariadb: TestServer = {
  name: 'mariadb',
  use: useMariaDb,
  start: (port) => startMariaDb({ port }),
  urlAt: (port) => `mysql://root@127.0.0.1:${port}/`,
  connect: async (url) => {
    const client = await mysql.createConnection(url);
    return {
      query: async (text) => {
        const [rows] = await client.query(text);
        return Array.isArray(rows) ? (rows as Record<string, unknown>[]) : [];
      },
      end: () => client.end(),
    };
  },
  beginForeign: async (url) => {
    const client = await mysql.createConnection(url);
    await client.beginTransaction();
    const commit = async () => {
      await client.commit();
      await client.end();
    };
    return { tx: mariadbTransaction(client), commit };
  },
  sessionId: 'SELECT CONNECTION_ID() AS id',
  endSession: (id) => `KILL ${id}`,
  findSession: (id) => `SELECT 1 FROM information_schema.processlist WHERE id = ${id}`,
  sleep: (seconds) => `SELECT SLEEP(${seconds})`,
  insertSoon: (name) => `SET STATEMENT innodb_lock_wait_timeout = 1 FOR INSERT INTO entry VALUES ('${name}')`,
  findWaiting: `SELECT 1 FROM information_schema.innodb_trx t JOIN information_schema.processlist p
    ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()`,
  findSleeping: `SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep' AND db = DATABASE()`,
  endOwnSession: 'KILL CONNECTION CONNECTION_ID()',
  now: 'UTC_TIMESTAMP(6)',
  fillInbox: (messages, daysAgo) => `INSERT INTO lockstep_inbox (day, consumer, message_id, received_at)
    SELECT UTC_DATE() - INTERVAL ${daysAgo} DAY, 'points', UNHEX(REPLACE(UUID(), '-', '')),
      UTC_TIMESTAMP(6) - INTERVAL ${daysAgo} DAY FROM seq_1_to_${messages}`,
  isolationOf: async (tx) => {
    // The level of one transaction is shown once InnoDB takes part in it.
    await tx.query('SELECT * FROM entry FOR UPDATE');
    const [row] = await tx.query<{ level: string }>(`SELECT trx_isolation_level AS level
      FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()`);
    return row?.level.toLowerCase();
  },
  duplicate: { code: 'ER_DUP_ENTRY' },
  unknownColumn: { code: 'ER_BAD_FIELD_ERROR', sqlState: '42S22' },
  unknownTable: { code: 'ER_NO_SUCH_TABLE' },
  deadlock: { code: 'ER_LOCK_DEADLOCK' },
};

/** For `describe.each`: the same facts on both. */
export const TEST_SERVERS: readonly TestServer[] = [postgres, mariadb];
