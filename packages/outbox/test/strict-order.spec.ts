import 'reflect-metadata';
import {
  DeadLetters,
  MESSAGE_TRANSPORT,
  type Message,
  type MessageEnvelope,
  MessageRefusedError,
  type MessageTransport,
  OnMessage,
  OUTBOX_STORE,
  OutboxService,
  type OutboxStore,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { type EventuallyOptions, eventually as eventuallyWithin, seed, seededRandom } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';
import { GENERATION, strictMessage } from './support/strict-messages.js';

const SHORT = { first: 10, atMost: 20 } as const;
const ROUTE = { topic: 'step', consumer: 'steps' };

/** Several consumers and a relay share the machine with others. */
const PATIENT: EventuallyOptions = { timeoutMs: 20_000 };
const eventually = <T>(check: () => T | Promise<T>) => eventuallyWithin(check, PATIENT);

interface Step {
  readonly key: string;
  readonly n: number;
}

@Injectable()
class Steps {
  fail: (step: Step) => unknown = () => undefined;

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('step', { consumer: 'steps', attempts: 2, backoff: SHORT, concurrency: 8 })
  async take(step: Step, message: Message): Promise<void> {
    const tx = this.sql.requireCurrent('steps');
    await tx.execute('INSERT INTO step (key, n, message_id) VALUES ($1, $2, $3)', [step.key, step.n, message.id]);
    const failure = this.fail(step);
    if (failure) throw failure;
  }
}

describe('Strict order', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let transport: MessageTransport;
  let store: OutboxStore;
  let steps: Steps;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Steps],
      topics: { step: { ordered: 'strict' } },
      redeliverAfter: 2_000,
      redeliverAtMost: 2_000,
      prepare: async (db) => void (await db.execute('CREATE TABLE step (id serial, key text, n int, message_id uuid)')),
    });
    const { app } = application;
    ({ sql } = application);
    [outbox, steps, deadLetters] = [app.get(OutboxService), app.get(Steps), app.get(DeadLetters)];
    [transport, store] = [app.get(MESSAGE_TRANSPORT), app.get(OUTBOX_STORE)];
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    steps.fail = () => undefined;
    await sql.execute('TRUNCATE step, lockstep_outbox_dead, lockstep_outbox_inflight');
  });

  const publish = (key: string, ...ns: number[]) =>
    sql.transaction(() => outbox.publishMany(ns.map((n) => ({ topic: 'step', key, body: { key, n } }))));
  const taken = async (key: string) =>
    (await sql.query<Step>('SELECT n FROM step WHERE key = $1 ORDER BY id', [key])).map(({ n }) => n);
  const position = async (key: string) =>
    (await sql.query('SELECT generation::text, last::text FROM lockstep_outbox_position WHERE key = $1', [key]))[0];
  /** As if its transaction had committed and the relay had given it to a transport that lost it. */
  const fly = ({ id, key, payload, headers }: MessageEnvelope) =>
    sql.execute(
      `INSERT INTO lockstep_outbox_inflight
         (consumer, message_id, topic, key, payload, headers, awaits_ack, published_at, deliveries, redeliver_at)
       VALUES ('steps', $1, 'step', $2, $3, $4, true, now(), 1, now())`,
      [id, key, payload, JSON.stringify(headers)],
    );
  const codes = () => application.incidents.map(({ code }) => code);
  const inFlight = async (key: string) =>
    sql.query(
      'SELECT 1 FROM lockstep_outbox_inflight WHERE key = $1 UNION ALL SELECT 1 FROM lockstep_outbox WHERE key = $1',
      [key],
    );

  it('lets the messages of a key take effect in the order of their transactions', async () => {
    await publish('a', 1, 2);
    await publish('a', 3);
    await publish('a', 4, 5);
    await eventually(async () => expect(await taken('a')).toEqual([1, 2, 3, 4, 5]));
    expect(await position('a')).toMatchObject({ last: '5' });
    await eventually(async () => expect(await inFlight('a')).toEqual([]));
  });

  it('keeps the order of each key when the transport shuffles and doubles what it carries', async () => {
    const random = seededRandom(seed());
    const messages = ['s1', 's2', 's3'].flatMap((key) =>
      Array.from({ length: 8 }, (_, index) => strictMessage('step', key, index + 1)),
    );
    for (const message of random.shuffle([...messages, ...messages])) await transport.publish(ROUTE, [message]);
    const all = [1, 2, 3, 4, 5, 6, 7, 8];
    for (const key of ['s1', 's2', 's3']) {
      await eventually(async () => expect(await taken(key)).toEqual(all));
    }
    expect(await deadLetters.blocking({ topic: 'step' })).toEqual([]);
  });

  it('leaves no trace of a message that came before its turn', async () => {
    const [first, second] = [strictMessage('step', 'b', 1), strictMessage('step', 'b', 2)];
    await transport.publish(ROUTE, [second]);
    await eventually(async () => expect(await taken('b')).toEqual([]));
    expect(await sql.query('SELECT 1 FROM lockstep_inbox WHERE message_id = $1', [second.id])).toEqual([]);
    expect(await position('b')).toBeUndefined();
    await transport.publish(ROUTE, [first]);
    await eventually(async () => expect(await taken('b')).toEqual([1, 2]));
  });

  it('holds up a key whose message died, and only that one, until it is replayed', async () => {
    steps.fail = ({ key, n }) => (key === 'c' && n === 2 ? new Error('no') : undefined);
    await publish('c', 1, 2, 3);
    await publish('d', 1, 2, 3);
    await eventually(async () => expect(await taken('d')).toEqual([1, 2, 3]));
    const [letter, ...others] = await eventually(async () => {
      const letters = await deadLetters.blocking({ topic: 'step', consumer: 'steps' });
      expect(letters).toHaveLength(1);
      return letters;
    });
    expect(others).toEqual([]);
    expect(await taken('c')).toEqual([1]);
    steps.fail = () => undefined;
    expect(await deadLetters.replay(letter ? [letter] : [])).toBe(1);
    await eventually(async () => expect(await taken('c')).toEqual([1, 2, 3]));
  });

  it('goes on behind a message that is skipped, which has no effect', async () => {
    steps.fail = ({ key, n }) => (key === 'e' && n <= 2 ? new MessageRefusedError('never') : undefined);
    await publish('e', 1, 2, 3);
    await eventually(async () => expect(await deadLetters.blocking()).toHaveLength(1));
    expect(await deadLetters.skip(await deadLetters.blocking())).toBe(1);
    await eventually(async () => {
      const blocking = await deadLetters.blocking();
      expect(blocking.map(({ message }) => JSON.parse(message.payload).n)).toEqual([2]);
    });
    expect(await taken('e')).toEqual([]);
    await eventually(async () => {
      await deadLetters.skipAll({ topic: 'step', consumer: 'steps' });
      expect(await taken('e')).toEqual([3]);
      expect(await inFlight('e')).toEqual([]);
    });
    expect(await deadLetters.list({ topic: 'step' })).toEqual([]);
  });

  it('goes on behind a message that is discarded, and keeps its position until then', async () => {
    steps.fail = ({ key, n }) => (key === 'l' && n === 2 ? new MessageRefusedError('never') : undefined);
    await publish('l', 1, 2, 3);
    await eventually(async () => expect(await deadLetters.blocking()).toHaveLength(1));
    const kept = await sql.query(
      "SELECT touched_at > clock_timestamp() + interval '10 years' AS ever FROM lockstep_outbox_position WHERE key = 'l'",
    );
    expect(kept).toEqual([{ ever: true }]);
    expect(await deadLetters.discard(await deadLetters.blocking())).toBe(1);
    await eventually(async () => expect(await taken('l')).toEqual([1, 3]));
    await eventually(async () => expect(await inFlight('l')).toEqual([]));
  });

  it('takes a message whose turn is over for a copy only if the inbox knows it, and for a dead letter otherwise', async () => {
    await publish('f', 1, 2);
    await eventually(async () => expect(await taken('f')).toEqual([1, 2]));
    const { generation } = (await position('f')) as { generation: string };
    const stranger = strictMessage('step', 'f', 2, { generation: Number(generation) });
    const older = strictMessage('step', 'f', 3, { generation: Number(generation) - 1 });
    for (const one of [stranger, older]) await fly(one);
    const letters = await eventually(async () => {
      const list = await deadLetters.list({ topic: 'step' });
      expect(list).toHaveLength(2);
      return list;
    });
    for (const { error } of letters) {
      expect(error).toMatch(/the inbox does not know it.*inboxRetention.*an earlier one may have had/);
    }
    expect(codes()).toContain('OUTBOX_MESSAGE_OUT_OF_SEQUENCE');
    expect(await taken('f')).toEqual([1, 2]);
    expect(await deadLetters.skip(letters)).toBe(2);
    await eventually(async () => expect(await inFlight('f')).toEqual([]));
    expect(await deadLetters.list({ topic: 'step' })).toEqual([]);
    expect([await taken('f'), await position('f')]).toMatchObject([[1, 2], { generation, last: '2' }]);
  });

  it('begins anew with a later generation, in its order, and says so', async () => {
    const later = { generation: GENERATION + 5 };
    await transport.publish(ROUTE, [strictMessage('step', 'g', 1)]);
    await eventually(async () => expect(await taken('g')).toEqual([1]));
    await transport.publish(ROUTE, [strictMessage('step', 'g', 2, later)]);
    await transport.publish(ROUTE, [strictMessage('step', 'g', 1, later)]);
    await eventually(async () => expect(await taken('g')).toEqual([1, 1, 2]));
    expect(codes()).toContain('OUTBOX_SEQUENCE_RESTARTED');
  });

  it('begins where the consumer subscribed', async () => {
    const start = { 'Lockstep-Sequence-Start': `${GENERATION}.57` };
    await transport.publish(ROUTE, [strictMessage('step', 'h', 58, start)]);
    await transport.publish(ROUTE, [strictMessage('step', 'h', 57, start)]);
    await eventually(async () => expect(await taken('h')).toEqual([57, 58]));
  });

  it('gives up a strict message whose sequence or key cannot be read', async () => {
    const [odd, keyless] = [strictMessage('step', 'i', 1), strictMessage('step', 'i', 1)];
    const headers = { ...odd.headers, 'Lockstep-Durability': 'on-accept' };
    await transport.publish(ROUTE, [{ ...odd, headers: { ...headers, 'Lockstep-Sequence': '1.x' } }]);
    await transport.publish(ROUTE, [{ ...keyless, headers, key: undefined }]);
    await eventually(async () => expect(await deadLetters.list({ topic: 'step' })).toHaveLength(2));
    expect(await taken('i')).toEqual([]);
    expect(await deadLetters.discard(await deadLetters.list({ topic: 'step' }))).toBe(2);
    expect(await sql.query('SELECT 1 FROM lockstep_outbox_inflight')).toEqual([]);
  });

  it('tells the origin that a message waits, so that no copies of it are published meanwhile', async () => {
    const message = strictMessage('step', 'j', 2);
    await fly(message);
    await eventually(async () => {
      const [row] = await sql.query<{ ms: number }>(
        `SELECT extract(epoch FROM redeliver_at - clock_timestamp())::float8 * 1000 AS ms
         FROM lockstep_outbox_inflight WHERE message_id = $1`,
        [message.id],
      );
      // Longer than redeliverAtMost, after which it would be published again.
      expect(row?.ms).toBeGreaterThan(2_020);
    });
    await transport.publish(ROUTE, [strictMessage('step', 'j', 1)]);
    await eventually(async () => expect(await taken('j')).toEqual([1, 2]));
  });

  it('replays in bulk, by topic and consumer, page by page, and leaves dead what dies again', async () => {
    const dead = Array.from({ length: 1_203 }, () => ({ id: uuidv7(), consumer: 'nobody' }));
    await store.operations.discard(await deadLetters.list({ limit: 1_000 }));
    await sql.execute(
      `INSERT INTO lockstep_outbox_dead (message_id, consumer, topic, payload, headers, published_at, error)
       SELECT id, consumer, 'bulk', '1', '{}', now(), 'x' FROM json_to_recordset($1::json) AS one (id uuid, consumer text)`,
      [JSON.stringify(dead)],
    );
    expect(await deadLetters.replayAll({ topic: 'other' })).toBe(0);
    expect(await deadLetters.replayAll({ topic: 'bulk', consumer: 'nobody' })).toBe(1_203);
    expect(await deadLetters.list({ topic: 'bulk' })).toEqual([]);
    await sql.execute(`DELETE FROM lockstep_outbox_inflight WHERE topic = 'bulk'`);
  });
});
