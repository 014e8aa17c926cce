import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import { OUTBOX_STORE, type OutboxDelivery, type OutboxStore } from '@lockstep/outbox';
import { describeOutboxStoreContract, OutboxBench } from '@lockstep/outbox/contract';
import { MariaDbOutboxStore } from '@lockstep/outbox/mariadb';
import { isConflict, RowLeases, Sql, SqlModule, type SqlTransaction } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { eventually } from '@lockstep/testing';
import { useMariaDb } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import mysql from 'mysql2/promise';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const TABLES = ['', '_inflight', '_dead', '_subscription', '_delayed', '_sequence', '_start'];

const idsOf = (deliveries: readonly OutboxDelivery[]) => deliveries.map(({ message }) => message.id);

describe('MariaDbOutboxStore', () => {
  const mariadb = useMariaDb();
  let app: TestingModule;
  let sql: Sql;
  let store: OutboxStore;

  beforeAll(async () => {
    app = await Test.createTestingModule({
      imports: [CoreModule, SqlModule.forRoot({ driver: mariadbDriver({ url: mariadb.url, maxConnections: 8 }) })],
      providers: [
        {
          provide: OUTBOX_STORE,
          inject: [Sql, RowLeases],
          useFactory: (...of: [Sql, RowLeases]) => new MariaDbOutboxStore(...of),
        },
      ],
    }).compile();
    app.useLogger(false);
    await app.init();
    sql = app.get(Sql);
    store = app.get(OUTBOX_STORE);
    await store.subscribe([]);
  });
  afterAll(() => app.close());

  const empty = async (): Promise<void> => {
    // In a transaction a statement has more time: one test leaves many keys.
    await sql.transaction(async (tx) => {
      for (const table of TABLES) await tx.execute(`DELETE FROM lockstep_outbox${table}`);
    });
  };
  /** As the README says: of several who wait for one that rolls back, some are ended and begin again. */
  const transaction = async <T>(fn: (tx: SqlTransaction) => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await sql.transaction(fn);
      } catch (error) {
        if (attempt === 20 || !isConflict(error)) throw error;
      }
    }
  };

  describeOutboxStoreContract({
    name: 'mariadb',
    open: async () => {
      await empty();
      return { store, transaction, dispose: async () => undefined };
    },
  });

  describe('beside another relay that has not committed yet', () => {
    let other: mysql.Connection;
    let bench: OutboxBench;

    beforeEach(async () => {
      await empty();
      bench = new OutboxBench({ store, transaction, dispose: async () => undefined });
      await bench.subscribe('points');
      other = await mysql.createConnection(mariadb.url);
      await other.query('SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
      await other.beginTransaction();
    });
    afterEach(() => other.end());

    const hex = (id = '') => id.replaceAll('-', '');
    const untilSomebodyWaits = () =>
      eventually(
        async () => {
          const waiting = await sql.query(`SELECT 1 FROM information_schema.innodb_trx t
            JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
            WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()`);
          expect(waiting).toHaveLength(1);
        },
        // The server's view of locks stays as it is while it is asked more often.
        { intervalMs: 150, timeoutMs: 10_000 },
      );

    it('does not claim what that one has moved, nor overtake it', async () => {
      const [first, second] = await bench.appendMany(2);
      await other.query('DELETE FROM lockstep_outbox WHERE message_id = UNHEX(?)', [hex(first)]);
      const claiming = bench.claim();
      await untilSomebodyWaits();
      await other.commit();
      expect(idsOf((await claiming).deliveries)).toEqual([second]);
    });

    it('claims what is committed while a producer has not committed, and does not wait for it', async () => {
      const [first] = await bench.appendMany(1);
      await other.query(`INSERT INTO lockstep_outbox
        (shard, id, message_id, topic, payload, headers, awaits_ack)
        VALUES (0, NEXTVAL(lockstep_outbox_ticket), UNHEX(REPLACE(UUID(), '-', '')), '${bench.topic}', '{}', '{}', 1)`);
      const [second] = await bench.appendMany(1);
      expect(idsOf((await bench.claim()).deliveries)).toEqual([first, second]);
      await other.commit();
      expect((await bench.claim()).messages).toBe(1);
    });

    it('lets no refused message leave the outbox before it is a dead letter', async () => {
      const [id] = await bench.appendMany(1, false);
      const [delivery] = (await bench.claim()).deliveries;
      if (!delivery?.place) throw new Error('not claimed');
      const { message, consumer, place } = delivery;
      await other.query(
        `INSERT INTO lockstep_outbox_dead (message_id, consumer, topic, payload, headers, published_at, error)
         VALUES (UNHEX(?), ?, ?, '{}', '{}', UTC_TIMESTAMP(6), 'of the other')`,
        [hex(id), consumer, message.topic],
      );
      const settling = store.settle([
        { outcome: 'accepted', ...place },
        { outcome: 'dead', consumer, messageId: message.id, error: 'too large', message },
      ]);
      await untilSomebodyWaits();
      expect(idsOf((await bench.claim()).deliveries)).toEqual([id]);
      await other.rollback();
      await settling;
      expect((await bench.claim()).messages).toBe(0);
      expect(await store.operations.deadLetters({ limit: 2 })).toMatchObject([{ messageId: id, error: 'too large' }]);
    });

    it('does not give out what that one is giving out, and does not wait for it', async () => {
      const [first, second] = await bench.appendMany(2);
      await bench.claim(500, 0);
      await other.query(
        'UPDATE lockstep_outbox_inflight SET redeliver_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE message_id = UNHEX(?)',
        [hex(first)],
      );
      expect(idsOf(await bench.overdue())).toEqual([second]);
      await other.commit();
    });

    it('does not route to somebody who subscribes, before it is known where he begins', async () => {
      const [first] = await bench.append(bench.record({ key: 'a', strict: true }));
      await other.query('SELECT * FROM lockstep_outbox_gate LOCK IN SHARE MODE');
      const subscribing = bench.subscribe('stock');
      await untilSomebodyWaits();
      const claiming = bench.claim();
      await other.commit();
      await subscribing;
      const { deliveries } = await claiming;
      const ofStock = deliveries.filter(({ consumer }) => consumer === 'stock');
      for (const { message } of ofStock) {
        expect(message.headers['Lockstep-Sequence-Start']).toBe(message.headers['Lockstep-Sequence']);
      }
      expect(deliveries.map(({ message }) => message.id)).toContain(first);
    });
  });

  it('writes where a consumer begins with the first message of a key, and nothing when it subscribes', async () => {
    await empty();
    const bench = new OutboxBench({ store, transaction, dispose: async () => undefined });
    const strict = (key: string) => bench.record({ key, strict: true });
    const starts = () =>
      sql.query<{ consumer: string; sequence: string }>('SELECT consumer, sequence FROM lockstep_outbox_start');
    await bench.subscribe('old');
    await bench.append(strict('a'), strict('b'), strict('c'));
    await bench.claim();
    await bench.subscribe('new');
    expect(await starts()).toEqual([]);
    await bench.append(strict('a'), strict('a'));
    await bench.claim();
    expect(await starts()).toEqual([{ consumer: 'new', sequence: expect.stringMatching(/\.2$/) }]);
    await store.operations.retire({ topic: bench.topic, consumer: 'new' });
    expect(await starts()).toEqual([]);
  });

  it('begins anew where retiring a consumer broke off before its starts were gone', async () => {
    await empty();
    const bench = new OutboxBench({ store, transaction, dispose: async () => undefined });
    const strict = () => bench.record({ key: 'a', strict: true });
    const claimed = async () => (await bench.claim()).deliveries.filter(({ consumer }) => consumer === 'new');
    await bench.subscribe('old');
    await bench.append(strict());
    await bench.claim();
    await bench.subscribe('new');
    await bench.append(strict());
    expect(await claimed()).toHaveLength(1);
    await sql.execute("DELETE FROM lockstep_outbox_subscription WHERE consumer = 'new'");
    await bench.append(strict());
    await bench.claim();
    await bench.subscribe('new');
    await bench.append(strict());
    const [delivery] = await claimed();
    expect(delivery?.message.headers['Lockstep-Sequence-Start']).toMatch(/\.4$/);
    expect(delivery?.message.headers['Lockstep-Sequence']).toMatch(/\.4$/);
  });

  it('has no index on the hot table but its primary key', async () => {
    const indexes = await sql.query<{ name: string }>(
      `SELECT DISTINCT index_name AS name FROM information_schema.statistics
       WHERE table_schema = DATABASE() AND table_name = 'lockstep_outbox'`,
    );
    expect(indexes).toEqual([{ name: 'PRIMARY' }]);
  });

  it('bears that its migration breaks off between two statements and is run again', async () => {
    await sql.execute("DELETE FROM lockstep_migrations WHERE set_name = 'outbox'");
    const again = new MariaDbOutboxStore(sql, app.get(RowLeases));
    const restarted = await Test.createTestingModule({
      imports: [CoreModule, SqlModule.forRoot({ driver: mariadbDriver({ url: mariadb.url }) })],
    }).compile();
    await new MariaDbOutboxStore(restarted.get(Sql), restarted.get(RowLeases)).subscribe([]);
    await restarted.close();
    expect(await again.operations.facts(1)).toMatchObject({ dead: 0 });
  });

  it('appends more than fits into one packet, in its order', async () => {
    await empty();
    const bench = new OutboxBench({ store, transaction, dispose: async () => undefined });
    await bench.subscribe('points');
    const payload = JSON.stringify('ü'.repeat(1_000_000));
    const ids = await bench.append(...Array.from({ length: 12 }, () => bench.record({ payload })));
    const { deliveries } = await bench.claim(12);
    expect(idsOf(deliveries)).toEqual(ids);
    expect(deliveries.at(-1)?.message.payload).toBe(payload);
  }, 30_000);
});
