import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import type { OutboxStore, PreparedMessageStore } from '@lockstep/outbox';
import type { PreparedMessageStoreEnds } from '@lockstep/outbox/contract';
import { MariaDbPreparedMessageStore } from '@lockstep/outbox/mariadb';
import { PostgresOutboxStore } from '@lockstep/outbox/postgres';
import { RowLeases, Sql, SqlModule, type SqlTransaction } from '@lockstep/sql';
import { mariadbDriver, mariadbTransaction } from '@lockstep/sql/mariadb';
import { pgDriver, pgTransaction } from '@lockstep/sql/postgres';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { MARIADB_PREPARED } from '../../dist/drivers/mariadb/prepared-statements.js';
import { POSTGRES_PREPARED } from '../../dist/drivers/postgres/prepared-statements.js';
import type { PreparedStatements } from '../../dist/drivers/sql/prepared-statements.js';

/** A transaction on a connection of its own, in the hands of a test. */
export interface HeldTransaction {
  readonly tx: SqlTransaction;
  commit(): Promise<void>;
  /** As a process that is killed: without a word. */
  drop(): Promise<void>;
}

/** A server on which half messages are prepared, and the local work is done. */
export interface PreparedServer {
  readonly name: string;
  use(): { readonly url: string };
  begin(url: string): Promise<HeldTransaction>;
  store(sql: Sql, leases: RowLeases): Promise<PreparedMessageStore>;
  readonly published: string;
  readonly empty: readonly string[];
  readonly statements: PreparedStatements;
  /** Make `times` more of each half message that stands there. */
  multiply(times: number): readonly string[];
  /** How many rows a statement gives, and how many rows and entries of indexes it touches for that. */
  rowsRead(tx: SqlTransaction, statement: string, params: readonly unknown[]): Promise<RowsRead>;
}

export interface RowsRead {
  readonly rows: number;
  readonly read: number;
}

/** All columns of a half message but its id. */
const COPIED = `state, shard, awaits_ack, delay_ms, topic, payload, headers, checker, max_checks, check_every_ms, prepared_at,
  next_check_at, deadline_at, old_at`;

async function counting(
  tx: SqlTransaction,
  [statement, params]: readonly [string, readonly unknown[]],
  counter: string,
): Promise<RowsRead> {
  const count = async () => Number((await tx.query<{ n: string }>(counter))[0]?.n);
  await count();
  const before = await count();
  const rows = await tx.query(statement, params);
  return { rows: rows.length, read: (await count()) - before };
}

const postgres: PreparedServer = {
  name: 'postgres',
  use: usePostgres,
  begin: async (url) => {
    const client = new pg.Client(url);
    // The test cuts it.
    client.on('error', () => undefined);
    await client.connect();
    await client.query('BEGIN');
    return {
      tx: pgTransaction(client),
      commit: async () => {
        await client.query('COMMIT');
        await client.end();
      },
      drop: async () => {
        const socket = (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream;
        socket.destroy();
      },
    };
  },
  store: async (sql, leases) => {
    const store = new PostgresOutboxStore(sql, leases);
    await store.subscribe([]);
    return store.prepared;
  },
  published: `SELECT message_id::text AS id, topic, key, payload, headers, 'no' AS delayed FROM lockstep_outbox
    UNION ALL SELECT message_id::text, topic, key, payload, headers, 'yes' FROM lockstep_outbox_delayed ORDER BY id`,
  statements: POSTGRES_PREPARED,
  multiply: (times) => [
    `INSERT INTO lockstep_outbox_prepared (id, ${COPIED}) SELECT gen_random_uuid(), ${COPIED}
     FROM lockstep_outbox_prepared, generate_series(1, ${times})`,
    'ANALYZE lockstep_outbox_prepared',
  ],
  rowsRead: (tx, statement, params) =>
    counting(
      tx,
      [statement, params],
      `SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::text AS n
       FROM pg_class WHERE relname LIKE 'lockstep_outbox_prepared%'`,
    ),
  empty: ['TRUNCATE lockstep_outbox, lockstep_outbox_delayed, lockstep_outbox_prepared, lockstep_outbox_decision'],
};

/** The append of MariaDB's outbox is not what is tried here: a table stands for it. */
const appendToTable: OutboxStore['append'] = async (tx, records) => {
  for (const { message, delayMs } of records) {
    const values = [message.id, message.topic, message.key ?? null, message.payload, JSON.stringify(message.headers)];
    await tx.execute('INSERT INTO appended VALUES ($1, $2, $3, $4, $5, $6)', [...values, delayMs > 0 ? 'yes' : 'no']);
  }
};

const mariadb: PreparedServer = {
  name: 'mariadb',
  use: useMariaDb,
  begin: async (url) => {
    const client = await mysql.createConnection(url);
    await client.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await client.beginTransaction();
    return {
      tx: mariadbTransaction(client),
      commit: async () => {
        await client.commit();
        await client.end();
      },
      drop: async () => client.destroy(),
    };
  },
  store: async (sql) => {
    await sql.execute(
      'CREATE TABLE IF NOT EXISTS appended (id char(36), topic text, k text, payload longtext, headers longtext, later text)',
    );
    return new MariaDbPreparedMessageStore(sql, appendToTable);
  },
  published: 'SELECT id, topic, k AS `key`, payload, headers, later AS `delayed` FROM appended ORDER BY id',
  statements: MARIADB_PREPARED,
  multiply: (times) => [
    `INSERT INTO lockstep_outbox_prepared (id, ${COPIED}) SELECT UUID(), ${COPIED}
     FROM lockstep_outbox_prepared, seq_1_to_${times}`,
    'ANALYZE TABLE lockstep_outbox_prepared',
  ],
  rowsRead: (tx, statement, params) =>
    counting(
      tx,
      [statement, params],
      "SELECT CAST(SUM(VARIABLE_VALUE) AS CHAR) AS n FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME LIKE 'HANDLER_READ%'",
    ),
  empty: ['DELETE FROM appended', 'DELETE FROM lockstep_outbox_prepared', 'DELETE FROM lockstep_outbox_decision'],
};

export const PREPARED_SERVERS: readonly PreparedServer[] = [postgres, mariadb];

export interface OpenedPrepared {
  readonly app: TestingModule;
  readonly sql: Sql;
  readonly store: PreparedMessageStore;
  /** Without any messages. */
  ends(): Promise<PreparedMessageStoreEnds>;
}

interface PublishedRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly payload: string;
  readonly headers: string;
  readonly delayed: string;
}

export async function openPrepared(server: PreparedServer, url: string): Promise<OpenedPrepared> {
  const driver = server.name === 'postgres' ? pgDriver({ url, maxConnections: 8 }) : mariadbDriver({ url });
  const app = await Test.createTestingModule({ imports: [CoreModule, SqlModule.forRoot({ driver })] }).compile();
  app.useLogger(false);
  await app.init();
  const sql = app.get(Sql);
  const store = await server.store(sql, app.get(RowLeases));
  await store.facts();
  const ends = async (): Promise<PreparedMessageStoreEnds> => {
    for (const statement of server.empty) await sql.execute(statement);
    return {
      store,
      transaction: (fn) => sql.transaction(fn, { propagation: 'requires-new' }),
      published: async () =>
        (await sql.query<PublishedRow>(server.published)).map(({ key, headers, delayed, ...row }) => ({
          ...row,
          key: key ?? undefined,
          headers: JSON.parse(headers) as Record<string, string>,
          delayed: delayed === 'yes',
        })),
      dispose: async () => undefined,
    };
  };
  return { app, sql, store, ends };
}
