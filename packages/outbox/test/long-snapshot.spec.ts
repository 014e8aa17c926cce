import 'reflect-metadata';
import { CoreModule, type DriverProvider, Incidents } from '@lockstep/core';
import {
  DeliveryPublisher,
  type MessageTransport,
  OUTBOX_STORE,
  type OutboxStore,
  RelayPass,
  type ShardLease,
  SlowStart,
} from '@lockstep/outbox';
import { OutboxBench } from '@lockstep/outbox/contract';
import { MariaDbOutboxStore } from '@lockstep/outbox/mariadb';
import { PostgresOutboxStore } from '@lockstep/outbox/postgres';
import { RowLeases, Sql, type SqlDriver, SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

const DEAD = 30_000;
const BATCH = 500;
const PAYLOAD = JSON.stringify('x'.repeat(300));
const HELD: ShardLease = { isHeld: () => true, renew: async () => true, release: async () => undefined };

interface Database {
  store(sql: Sql, leases: RowLeases): OutboxStore;
  driver(): DriverProvider<SqlDriver>;
  /** Begins a transaction elsewhere that looks at everything as it is now. Returns how it ends. */
  hold(): Promise<() => Promise<void>>;
  /** Pages that the database has read so far for the one connection there is. */
  pagesRead(sql: Sql): Promise<number>;
}

let relayed = 0;
const TRANSPORT: MessageTransport = {
  publish: async (_, messages) => {
    relayed += messages.length;
    return messages.map(() => ({ outcome: 'accepted' }));
  },
  consume: () => {
    throw new Error('not here');
  },
  close: async () => undefined,
};

function describeSnapshot(name: string, database: () => Database): void {
  describe(`A transaction left open elsewhere: ${name}`, () => {
    let app: TestingModule;
    let sql: Sql;
    let bench: OutboxBench;
    let relay: RelayPass;
    let end: () => Promise<void>;

    beforeAll(async () => {
      app = await Test.createTestingModule({
        imports: [CoreModule, SqlModule.forRoot({ driver: database().driver(), commandTimeout: '5s' })],
        providers: [
          {
            provide: OUTBOX_STORE,
            inject: [Sql, RowLeases],
            useFactory: (...of: [Sql, RowLeases]) => database().store(...of),
          },
        ],
      }).compile();
      app.useLogger(false);
      await app.init();
      sql = app.get(Sql);
    });
    afterAll(() => app.close());
    beforeEach(async () => {
      const store: OutboxStore = app.get(OUTBOX_STORE);
      bench = new OutboxBench({ store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined });
      await bench.subscribe('points');
      const incidents = new Incidents();
      const publisher = new DeliveryPublisher(store, TRANSPORT, incidents);
      const range = { fromShard: 0, toShard: 0, redeliverAfterMs: 3_600_000 };
      relay = new RelayPass(range, store, publisher, new SlowStart(BATCH), incidents);
      end = await database().hold();
      vi.useFakeTimers({ toFake: ['performance'] });
    });
    afterEach(async () => {
      vi.useRealTimers();
      await end();
    });

    const costOf = async (step: () => Promise<unknown>): Promise<number> => {
      const before = await database().pagesRead(sql);
      await step();
      return (await database().pagesRead(sql)) - before;
    };
    /** Of relaying one message: a database also reads for reasons of its own. */
    const leastCostOfOne = async () => Math.min(await costOfOne(), await costOfOne(), await costOfOne());
    const costOfOne = async (): Promise<number> => {
      await bench.appendMany(1);
      const before = relayed;
      const cost = await costOf(() => relay.run(HELD));
      expect(relayed).toBe(before + 1);
      return cost;
    };

    it('does not make a claim cost more with every message that went through', async () => {
      const first = await leastCostOfOne();
      for (let done = 0; done < DEAD; done += 2_500) {
        await bench.append(...Array.from({ length: 2_500 }, () => bench.record({ payload: PAYLOAD })));
        while (await relay.run(HELD)) vi.advanceTimersByTime(500);
      }
      vi.advanceTimersByTime(31_000);
      await costOfOne();
      const last = await leastCostOfOne();
      const fromBeginning = await costOf(() => bench.claim());
      expect(last).toBeLessThan(3 * first);
      expect(fromBeginning).toBeGreaterThan(10 * last);
    }, 120_000);
  });
}

const postgres = usePostgres();
const mariadb = useMariaDb();

describeSnapshot('postgres', () => ({
  store: (...of) => new PostgresOutboxStore(...of),
  driver: () => pgDriver({ url: postgres.url, maxConnections: 1 }),
  hold: async () => {
    const other = new pg.Client(postgres.url);
    await other.connect();
    await other.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM lockstep_outbox');
    return () => other.end();
  },
  pagesRead: async (sql) => {
    await sql.query('SELECT pg_stat_force_next_flush()');
    const [row] = await sql.query<{ pages: string }>(
      `SELECT (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::text AS pages
       FROM pg_statio_user_tables WHERE relname = 'lockstep_outbox'`,
    );
    return Number(row?.pages);
  },
}));

describeSnapshot('mariadb', () => ({
  store: (...of) => new MariaDbOutboxStore(...of),
  driver: () => mariadbDriver({ url: mariadb.url, maxConnections: 1 }),
  hold: async () => {
    const other = await mysql.createConnection(mariadb.url);
    await other.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await other.query('START TRANSACTION WITH CONSISTENT SNAPSHOT');
    return () => other.end();
  },
  pagesRead: async (sql) => {
    const [row] = await sql.query<{ pages: string }>(
      `SELECT variable_value AS pages FROM information_schema.global_status
       WHERE variable_name = 'Innodb_buffer_pool_read_requests'`,
    );
    return Number(row?.pages);
  },
}));
