import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import { MemoryOutboxStore, OUTBOX_STORE, type OutboxDelivery, type OutboxStore } from '@lockstep/outbox';
import { describeOutboxStoreContract, OutboxBench } from '@lockstep/outbox/contract';
import { PostgresOutboxStore } from '@lockstep/outbox/postgres';
import { RowLeases, Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { memoryTransaction } from './support/memory-transaction.js';

const EMPTY =
  'TRUNCATE lockstep_outbox, lockstep_outbox_inflight, lockstep_outbox_dead, lockstep_outbox_subscription, lockstep_outbox_delayed, lockstep_outbox_sequence, lockstep_outbox_start';

describeOutboxStoreContract({
  name: 'memory',
  open: async () => ({
    store: new MemoryOutboxStore(),
    transaction: memoryTransaction,
    dispose: async () => undefined,
  }),
});

const idsOf = (deliveries: readonly OutboxDelivery[]) => deliveries.map(({ message }) => message.id);

describe('PostgresOutboxStore', () => {
  const postgres = usePostgres();
  let app: TestingModule;
  let sql: Sql;
  let store: OutboxStore;

  beforeAll(async () => {
    app = await Test.createTestingModule({
      imports: [CoreModule, SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 8 }) })],
      providers: [
        {
          provide: OUTBOX_STORE,
          inject: [Sql, RowLeases],
          useFactory: (...of: [Sql, RowLeases]) => new PostgresOutboxStore(...of),
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

  describeOutboxStoreContract({
    name: 'postgres',
    open: async () => {
      await sql.execute(EMPTY);
      return { store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined };
    },
  });

  describe('beside another relay that has not committed yet', () => {
    let other: pg.Client;
    let bench: OutboxBench;

    beforeEach(async () => {
      await sql.execute(EMPTY);
      bench = new OutboxBench({ store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined });
      await bench.subscribe('points');
      other = new pg.Client(postgres.url);
      await other.connect();
      await other.query('BEGIN');
    });
    afterEach(() => other.end());

    const untilSomebodyWaits = (count = 1) =>
      eventually(async () => {
        const waiting = await sql.query(
          "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        expect(waiting).toHaveLength(count);
      });

    it('does not claim what that one has moved', async () => {
      const [first, second] = await bench.appendMany(2);
      await other.query('DELETE FROM lockstep_outbox WHERE message_id = $1', [first]);
      const claiming = bench.claim();
      await untilSomebodyWaits();
      await other.query('COMMIT');
      expect(idsOf((await claiming).deliveries)).toEqual([second]);
    });

    it('retires a consumer after a claim that had routed to it, so that nothing is left in flight', async () => {
      const [id] = await bench.appendMany(1);
      await other.query('DELETE FROM lockstep_outbox');
      const claiming = bench.claim();
      await untilSomebodyWaits();
      const retiring = store.operations.retire({ topic: bench.topic, consumer: 'points' });
      await Promise.race([retiring, untilSomebodyWaits(2)]);
      await other.query('ROLLBACK');
      await claiming;
      expect(await retiring).toBe(1);
      expect(await sql.query('SELECT 1 FROM lockstep_outbox_inflight')).toEqual([]);
      expect(await store.operations.deadLetters({ limit: 10 })).toMatchObject([{ messageId: id, consumer: 'points' }]);
    });

    it('lets no refused message leave the outbox before it is a dead letter', async () => {
      const [id] = await bench.appendMany(1, false);
      const [delivery] = (await bench.claim()).deliveries;
      if (!delivery?.place) throw new Error('not claimed');
      const { message, consumer, place } = delivery;
      await other.query('LOCK TABLE lockstep_outbox_dead');
      const settling = store.settle([
        { outcome: 'accepted', ...place },
        { outcome: 'dead', consumer, messageId: message.id, error: 'too large', message },
      ]);
      await expect(settling).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
      expect(idsOf((await bench.claim()).deliveries)).toEqual([id]);
    });

    it('does not give out what that one is giving out, and does not wait for it', async () => {
      const [first, second] = await bench.appendMany(2);
      await bench.claim(500, 0);
      await other.query(
        "UPDATE lockstep_outbox_inflight SET redeliver_at = now() + interval '1 hour' WHERE message_id = $1",
        [first],
      );
      expect(idsOf(await bench.overdue())).toEqual([second]);
      await other.query('COMMIT');
    });
  });

  it('writes where a consumer begins with the first message of a key, and nothing when it subscribes', async () => {
    await sql.execute(EMPTY);
    const bench = new OutboxBench({ store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined });
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
    await sql.execute(EMPTY);
    const bench = new OutboxBench({ store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined });
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
      "SELECT indexname AS name FROM pg_indexes WHERE tablename = 'lockstep_outbox'",
    );
    expect(indexes).toEqual([{ name: 'lockstep_outbox_pkey' }]);
  });
});
