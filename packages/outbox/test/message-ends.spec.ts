import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import {
  DeadLetters,
  MessageRefusedError,
  OnMessage,
  OUTBOX_STORE,
  OutboxService,
  type OutboxStore,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { HandTransport } from './support/hand-transport.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

const ORIGIN = 'b';
const JOBS = { topic: 'job', consumer: 'desk' };
const ACKS = { topic: 'lockstep.ack', consumer: ORIGIN };
const DOWN = new StoreUnavailableError({ store: 'postgres', operation: 'settle', outcome: 'unknown' });

@Injectable()
class Desk {
  work: () => Promise<void> = async () => undefined;

  @OnMessage('job', { consumer: 'desk', attempts: 1, backoff: { first: 10, atMost: 20 } })
  async handle(): Promise<void> {
    await this.work();
  }
}

describe('The end of a message', () => {
  const postgres = usePostgres();
  const hands = new HandTransport();
  let application: OutboxApplication;
  let sql: Sql;
  let store: OutboxStore;
  let desk: Desk;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    const admin = new pg.Client(postgres.url);
    await admin.connect();
    const [{ name }] = (await admin.query('SELECT current_database() AS name')).rows;
    await admin.query(`ALTER DATABASE "${name}" SET lock_timeout = '200ms'`);
    await admin.end();
    application = await startOutbox({
      url: postgres.url,
      providers: [Desk],
      transport: { useFactory: () => hands },
      origin: ORIGIN,
      redeliverAfter: 60_000,
      redeliverAtMost: 60_000,
    });
    const { app } = application;
    ({ sql } = application);
    [desk, deadLetters, store] = [app.get(Desk), app.get(DeadLetters), app.get<OutboxStore>(OUTBOX_STORE)];
    await eventually(() => expect([hands.isConsumed(JOBS), hands.isConsumed(ACKS)]).toEqual([true, true]));
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    desk.work = async () => undefined;
    (application.incidents as unknown[]).length = 0;
    await sql.execute('TRUNCATE lockstep_outbox_dead, lockstep_outbox_inflight');
  });

  const delivery = (id: string, headers: Readonly<Record<string, string>>) => ({
    message: { id, topic: 'job', key: undefined, payload: '{"n":1}', headers, publishedAt: 1_767_225_600_123 },
    attempt: 1,
  });
  const codes = () => application.incidents.map(({ code }) => code);
  const inFlight = async () => (await store.operations.facts(4)).inFlight;

  it('is not a copy that could not wait for the lock of the one that is being handled', async () => {
    const copy = delivery(uuidv7(), { 'Lockstep-Origin': ORIGIN });
    let finish: (() => void) | undefined;
    desk.work = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    const first = hands.hand(JOBS, copy);
    await eventually(() => expect(finish).toBeDefined());
    desk.work = async () => undefined;
    expect(await hands.hand(JOBS, copy)).toMatchObject([{ outcome: 'postpone', error: { code: '55P03' } }]);
    finish?.();
    expect(await first).toEqual([{ outcome: 'done' }]);
    expect(await hands.hand(JOBS, copy)).toEqual([{ outcome: 'done' }]);
    expect(await deadLetters.list()).toEqual([]);
  });

  it('takes two round trips beside what its handler does', async () => {
    desk.work = async () => void (await sql.requireCurrent('test').query('SELECT 42'));
    const query = vi.spyOn(pg.Client.prototype, 'query');
    expect(await hands.hand(JOBS, delivery(uuidv7(), { 'Lockstep-Origin': ORIGIN }))).toEqual([{ outcome: 'done' }]);
    const { calls, contexts } = query.mock;
    const isReceipt = ([text]: readonly unknown[]) => String(text).includes('INSERT INTO lockstep_inbox');
    const client = contexts[calls.findIndex(isReceipt)];
    const own = calls.filter((_, n) => contexts[n] === client);
    query.mockRestore();
    // The same client may have served others, before and after.
    const [first, ...rest] = own.slice(own.findIndex(isReceipt)).map(([text]) => String(text));
    expect(first).toMatch(/^BEGIN ISOLATION LEVEL READ COMMITTED; INSERT/);
    expect(rest.slice(0, 2)).toEqual(['SELECT 42', 'COMMIT']);
  });

  describe('that names no origin', () => {
    beforeEach(() => {
      desk.work = async () => {
        throw new MessageRefusedError('never');
      };
    });

    it('is a dead letter at its consumer, and ends when it is replayed and done', async () => {
      const { message } = delivery(uuidv7(), { 'X-From': 'elsewhere' });
      expect(await hands.hand(JOBS, { message, attempt: 1 })).toMatchObject([{ outcome: 'dead' }]);
      const [letter, ...others] = await deadLetters.list();
      expect(others).toEqual([]);
      expect(letter).toMatchObject({
        messageId: message.id,
        consumer: 'desk',
        error: expect.stringContaining('never'),
      });
      expect(letter?.message).toMatchObject({ ...message, headers: { 'X-From': 'elsewhere' } });
      expect(await deadLetters.replay(letter ? [letter] : [])).toBe(1);
      expect(await inFlight()).toBe(1);
      desk.work = async () => undefined;
      const again = { message: { ...message, headers: letter?.message.headers ?? {} }, attempt: 1 };
      expect(await hands.hand(JOBS, again)).toEqual([{ outcome: 'done' }]);
      expect(await inFlight()).toBe(0);
    });

    it('stays with the transport until the store has its dead letter', async () => {
      const given = delivery(uuidv7(), {});
      const settle = vi.spyOn(store, 'settle').mockRejectedValueOnce(DOWN);
      expect(await hands.hand(JOBS, given)).toMatchObject([{ outcome: 'postpone' }]);
      settle.mockRestore();
      expect(await hands.hand(JOBS, given)).toMatchObject([{ outcome: 'dead' }]);
      expect(await deadLetters.list()).toHaveLength(1);
    });

    it.each([
      ['an id that is none', { id: 'nope' }],
      ['a text that is none', { payload: 'a \u0000' }],
      ['a key that is too long', { key: 'k'.repeat(257) }],
    ])('is reported, and does not stay for ever, where no store could keep it: %s', async (_, odd) => {
      const { message } = delivery(uuidv7(), {});
      const outcomes = await hands.hand(JOBS, { message: { ...message, ...odd }, attempt: 1 });
      expect(outcomes).toMatchObject([{ outcome: 'dead' }]);
      expect(codes()).toContain('OUTBOX_MESSAGE_NOT_KEPT');
      expect(codes()).not.toContain('OUTBOX_ACK_FAILED');
    });
  });

  describe('told by a consumer elsewhere', () => {
    const ack = (attempt: number, ...acknowledgements: readonly unknown[]) => {
      const payload = JSON.stringify(acknowledgements);
      const common = { key: undefined, headers: {}, publishedAt: 1 };
      return { message: { id: uuidv7(), topic: ACKS.topic, payload, ...common }, attempt };
    };
    const unkeepable = () => {
      const { message } = delivery(uuidv7(), {});
      const dead = { ...message, payload: 'a \u0000' };
      return { outcome: 'dead', consumer: 'desk', messageId: message.id, error: 'x', message: dead };
    };
    const published = async () => {
      const id = await sql.transaction(() => application.app.get(OutboxService).publish('job', {}));
      await eventually(async () => expect(await inFlight()).toBe(1));
      return { outcome: 'acknowledged', consumer: 'desk', messageId: id };
    };

    it('is not held up by an acknowledgement that no store can settle', async () => {
      const good = await published();
      const outcomes = await hands.hand(ACKS, ack(1, unkeepable(), good), ack(1));
      expect(outcomes).toMatchObject([{ outcome: 'retry' }, { outcome: 'done' }]);
      expect(await inFlight()).toBe(0);
      expect(codes()).toContain('OUTBOX_ACK_FAILED');
      expect(await hands.hand(ACKS, ack(5, unkeepable()))).toEqual([{ outcome: 'done' }]);
      expect(codes()).toContain('OUTBOX_ACK_MALFORMED');
    });

    it('is asked for again while the store is away, however often, and that is reported', async () => {
      const good = await published();
      const settle = vi.spyOn(store, 'settle').mockRejectedValueOnce(DOWN);
      expect(await hands.hand(ACKS, ack(9, good))).toMatchObject([{ outcome: 'postpone' }]);
      expect(codes()).toEqual(['OUTBOX_ACK_FAILED']);
      settle.mockRestore();
      expect(await hands.hand(ACKS, ack(9, good))).toEqual([{ outcome: 'done' }]);
      expect(await inFlight()).toBe(0);
    });
  });
});

describe('A message in flight for nearly as long as the inbox remembers', () => {
  const postgres = usePostgres();

  const codesWith = async (days: number): Promise<readonly string[]> => {
    const { app, incidents, sql } = await startOutbox({
      url: postgres.url,
      transport: { useFactory: () => new HandTransport() },
      prepare: async (db) => {
        await db.execute('TRUNCATE lockstep_outbox_inflight');
        await db.execute("INSERT INTO lockstep_outbox_subscription VALUES ('job', 'desk') ON CONFLICT DO NOTHING");
        await db.execute(
          `INSERT INTO lockstep_outbox_inflight
             (consumer, message_id, topic, payload, headers, awaits_ack, published_at, deliveries, redeliver_at)
           VALUES ('desk', $1, 'job', '{}', '{}', true, now() - $2 * interval '1 day', 1, now() + interval '1 hour')`,
          [uuidv7(), days],
        );
      },
    });
    // By the time that a message has gone through the relay, all its loops have run.
    await sql.transaction(() => app.get(OutboxService).publish('other', {}));
    await eventually(async () => expect(await sql.query('SELECT 1 FROM lockstep_outbox')).toEqual([]));
    await app.close();
    return incidents.map(({ code }) => code);
  };

  it('is reported once it has used up four fifths of inboxRetention, and not before', async () => {
    expect(await codesWith(11)).not.toContain('OUTBOX_INBOX_TOO_SHORT');
    expect((await codesWith(11.3)).filter((code) => code === 'OUTBOX_INBOX_TOO_SHORT')).toHaveLength(1);
  });
});
