import 'reflect-metadata';
import {
  DeadLetters,
  type Message,
  MessageRefusedError,
  OnMessage,
  OUTBOX_STORE,
  OutboxService,
  type OutboxStore,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { type EventuallyOptions, eventually as eventuallyWithin } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PositionPurge } from '../dist/consumer/position-purge.js';
import { PostgresIdleKeys } from '../dist/drivers/postgres/postgres-idle-keys.js';
import { LOOK_AT_KEYS, READ_ONCE } from '../dist/drivers/postgres/sequence-statements.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

const PATIENT: EventuallyOptions = { timeoutMs: 20_000 };
const eventually = <T>(check: () => T | Promise<T>) => eventuallyWithin(check, PATIENT);

@Injectable()
class Steps {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('step', { consumer: 'refusing' })
  async refuse({ n }: { n: number }): Promise<void> {
    if (n === 1) throw new MessageRefusedError('never');
    await this.take('refusing', n);
  }

  @OnMessage('step', { consumer: 'healthy' })
  async accept({ n }: { n: number }, _message: Message): Promise<void> {
    await this.take('healthy', n);
  }

  private async take(consumer: string, n: number): Promise<void> {
    await this.sql.requireCurrent('steps').execute('INSERT INTO step (consumer, n) VALUES ($1, $2)', [consumer, n]);
  }
}

describe('A strict key that was idle for longer than a position is kept', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Steps],
      topics: { step: { ordered: 'strict' } },
      sequenceRetention: 1_000,
      prepare: async (db) => void (await db.execute('CREATE TABLE step (id serial, consumer text, n int)')),
    });
    ({ sql } = application);
    [outbox, deadLetters] = [application.app.get(OutboxService), application.app.get(DeadLetters)];
  });
  afterAll(() => application.app.close());

  const publish = (n: number) => sql.transaction(() => outbox.publish('step', { n }, { key: 'k' }));
  const taken = async (consumer: string) =>
    (await sql.query<{ n: number }>('SELECT n FROM step WHERE consumer = $1 ORDER BY id', [consumer])).map(
      ({ n }) => n,
    );
  const positions = () =>
    sql.query('SELECT consumer, last::int AS last FROM lockstep_outbox_position ORDER BY consumer');

  it('goes on at a consumer that had no part in the dead letter of another one, which holds up that one only', async () => {
    await publish(1);
    await eventually(async () => {
      expect(await taken('healthy')).toEqual([1]);
      expect(await deadLetters.blocking()).toMatchObject([{ consumer: 'refusing' }]);
    });
    await eventually(async () => {
      await new PositionPurge(sql).step(2_000);
      expect(await positions()).toEqual([]);
    });
    await publish(2);
    await publish(3);
    await eventually(async () => expect(await taken('healthy')).toEqual([1, 2, 3]));
    expect(await deadLetters.blocking({ consumer: 'healthy' })).toEqual([]);
    expect(await taken('refusing')).toEqual([]);
    await deadLetters.skip(await deadLetters.blocking());
    await eventually(async () => expect(await taken('refusing')).toEqual([2, 3]));
    expect(await positions()).toEqual([
      { consumer: 'healthy', last: 3 },
      { consumer: 'refusing', last: 3 },
    ]);
    expect(application.incidents.map(({ code }) => code)).not.toContain('OUTBOX_MESSAGE_OUT_OF_SEQUENCE');
  });
});

@Injectable()
class Patient {
  mayTake = true;

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('step', { consumer: 'patient', attempts: 1_000, backoff: { first: 20, atMost: 50 } })
  async take({ n }: { n: number }): Promise<void> {
    if (!this.mayTake) throw new Error('not yet');
    await this.sql.requireCurrent('steps').execute('INSERT INTO step (consumer, n) VALUES ($1, $2)', ['patient', n]);
  }
}

describe('A strict key whose next message is tried for longer than a position is kept', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Patient],
      topics: { step: { ordered: 'strict' } },
      sequenceRetention: 1_000,
      prepare: async (db) => void (await db.execute('CREATE TABLE step (id serial, consumer text, n int)')),
    });
  });
  afterAll(() => application.app.close());

  it('keeps its position, and goes on when that takes effect', async () => {
    const { app, sql } = application;
    const publish = (n: number) => sql.transaction(() => app.get(OutboxService).publish('step', { n }, { key: 'k' }));
    const taken = async () => (await sql.query<{ n: number }>('SELECT n FROM step ORDER BY id')).map(({ n }) => n);
    const patient = app.get(Patient);
    await publish(1);
    await eventually(async () => expect(await taken()).toEqual([1]));
    patient.mayTake = false;
    await publish(2);
    await publish(3);
    const since = performance.now();
    await eventually(async () => {
      await new PositionPurge(sql).step(2_000);
      expect(performance.now() - since).toBeGreaterThan(4_000);
    });
    patient.mayTake = true;
    await eventually(async () => expect(await taken()).toEqual([1, 2, 3]));
  });
});

describe('The sweep of idle keys, on tables that were empty when they were analyzed', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let store: OutboxStore;

  const ROWS = 20_000;
  const KEYS = 1_000;
  const TABLES = ['lockstep_outbox', 'lockstep_outbox_inflight', 'lockstep_outbox_dead', 'lockstep_outbox_sequence'];
  const messages = (table: string, columns: string, values: string) =>
    sql.transaction((tx) =>
      tx.execute(
        `INSERT INTO ${table} (message_id, topic, key, payload, headers, ${columns})
         SELECT gen_random_uuid(), 'other', 'key' || i, '{}', '{"Lockstep-Sequence":"1.1"}', ${values}
         FROM generate_series(1, ${ROWS}) AS i`,
      ),
    );
  const fill = async () => {
    await messages('lockstep_outbox', 'shard, awaits_ack', '7, true');
    await messages(
      'lockstep_outbox_inflight',
      'consumer, awaits_ack, published_at, deliveries, redeliver_at',
      `'x', true, now(), 1, now() + interval '1 day'`,
    );
    await messages('lockstep_outbox_dead', 'consumer, published_at, error', `'x', now(), 'no'`);
    await sql.transaction((tx) =>
      tx.execute(
        `INSERT INTO lockstep_outbox_sequence (topic, key, generation, n, touched_at)
         SELECT 'step', 'key' || i, 1, 1, now() - interval '2 days' FROM generate_series(1, ${KEYS}) AS i`,
      ),
    );
  };

  beforeAll(async () => {
    application = await startOutbox({ url: postgres.url, run: { relay: false, consumers: false } });
    ({ sql } = application);
    store = application.app.get(OUTBOX_STORE);
    await store.subscribe([{ topic: 'step', consumer: 'steps' }]);
    for (const table of TABLES) await sql.execute(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`);
    await fill();
    // The last row keeps the table from being cut short: it has its pages, and nothing in them.
    for (const table of TABLES) {
      await sql.execute(`DELETE FROM ${table} WHERE ctid <> (SELECT max(ctid) FROM ${table})`);
      await sql.execute(`VACUUM (ANALYZE, TRUNCATE off) ${table}`);
    }
    for (const table of TABLES) await sql.execute(`DELETE FROM ${table}`);
    await fill();
  }, 60_000);
  afterAll(() => application.app.close());

  it('reads the backlog once, and not once for each key', async () => {
    const explain = (...settings: string[]) =>
      sql.transaction(async (tx) => {
        for (const setting of settings) await tx.query(setting);
        const rows = await tx.query<Record<string, string>>(`EXPLAIN ${LOOK_AT_KEYS}`, [1_000, '', '', 10_000]);
        return rows.map((row) => Object.values(row)[0]).join('\n');
      });
    expect(await explain()).toMatch(/Nested Loop/);
    expect(await explain(READ_ONCE)).not.toMatch(/Nested Loop/);
    const startedAt = performance.now();
    expect(await store.operations.purgeSequences(86_400_000)).toBe(KEYS);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(await sql.query("SELECT 1 FROM lockstep_outbox_sequence WHERE topic = 'step' LIMIT 1")).toEqual([]);
  });

  it.each([
    ['forgotten', []],
    ['told to a consumer', ['dead']],
  ])('of a key that is used between the look and the step, nothing is %s', async (_, letters) => {
    await sql.execute('DELETE FROM lockstep_outbox_sequence');
    await sql.execute(
      "INSERT INTO lockstep_outbox_sequence VALUES ('step', 'used', 7, 1, now() - interval '2 days'), ('step', 'idle', 7, 1, now() - interval '2 days')",
    );
    for (const consumer of letters) {
      await sql.execute(
        `INSERT INTO lockstep_outbox_dead (message_id, topic, key, payload, headers, consumer, published_at, error)
         SELECT gen_random_uuid(), 'step', key, '{}', '{"Lockstep-Sequence":"7.1"}', $1, now(), 'no' FROM lockstep_outbox_sequence`,
        [consumer],
      );
    }
    const draw = () =>
      sql.execute("UPDATE lockstep_outbox_sequence SET n = n + 1, touched_at = now() WHERE key = 'used'");
    expect(await new PostgresIdleKeys(overtaken(sql, draw)).sweep(86_400_000)).toBe(1);
    const starts = await sql.query('SELECT key, consumer, sequence FROM lockstep_outbox_start');
    expect(starts).toEqual(letters.map(() => ({ key: 'idle', consumer: 'steps', sequence: '7.2' })));
    const counters = await sql.query('SELECT key, n::int AS n FROM lockstep_outbox_sequence ORDER BY key');
    expect(counters).toEqual([...letters.map(() => ({ key: 'idle', n: 1 })), { key: 'used', n: 2 }]);
  });
});

/** A database where `between` happens after the sweep has looked, and before it takes its step. */
function overtaken(sql: Sql, between: () => Promise<unknown>): Sql {
  const transaction: Sql['transaction'] = (fn, options) =>
    sql.transaction(
      (tx) =>
        fn({
          dialect: tx.dialect,
          execute: (text, params) => tx.execute(text, params),
          query: async (text, params) => {
            const rows = await tx.query<never>(text, params);
            if (text === LOOK_AT_KEYS) await between();
            return rows;
          },
        }),
      options,
    );
  return { dialect: sql.dialect, transaction } as Sql;
}
