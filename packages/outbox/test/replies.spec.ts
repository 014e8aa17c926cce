import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import {
  DeadLetters,
  type Message,
  MessageRefusedError,
  OnMessage,
  OUTBOX_STORE,
  OutboxService,
  type OutboxStore,
  type Reply,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { type EventuallyOptions, eventually as eventuallyWithin } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { HandTransport } from './support/hand-transport.js';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

const PATIENT: EventuallyOptions = { timeoutMs: 20_000 };
const eventually = <T>(check: () => T | Promise<T>) => eventuallyWithin(check, PATIENT);
const SHORT = { first: 10, atMost: 20 } as const;

interface Order {
  readonly n: number;
}

@Injectable()
class Stock {
  result: (order: Order) => unknown = ({ n }) => ({ reserved: n });
  batchResult: (orders: readonly Order[]) => readonly unknown[] | undefined = (orders) => orders.map(({ n }) => n);
  readonly replies: { reply: Reply; inReplyTo: string | undefined; key: string | undefined }[] = [];

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('reserve', { consumer: 'stock', attempts: 2, backoff: SHORT })
  async reserve(order: Order): Promise<unknown> {
    await this.sql.requireCurrent('stock').execute('INSERT INTO reserved (n) VALUES ($1)', [order.n]);
    const result = this.result(order);
    if (result instanceof Error) throw result;
    return result;
  }

  @OnMessage('reserve.all', { consumer: 'stock', attempts: 2, backoff: SHORT, batch: true })
  async reserveAll(orders: readonly Order[]): Promise<readonly unknown[] | undefined> {
    return this.batchResult(orders);
  }

  @OnMessage('reserved', { consumer: 'orders' })
  async onReserved(reply: Reply, { inReplyTo, key }: Message): Promise<void> {
    this.replies.push({ reply, inReplyTo, key });
  }
}

describe('Replies', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let stock: Stock;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Stock],
      shards: 1,
      redeliverAfter: 5_000,
      redeliverAtMost: 5_000,
      topics: { reserved: { ordered: 'strict' } },
      prepare: async (db) => void (await db.execute('CREATE TABLE reserved (n int)')),
    });
    ({ sql } = application);
    [outbox, stock] = [application.app.get(OutboxService), application.app.get(Stock)];
    deadLetters = application.app.get(DeadLetters);
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    stock.result = ({ n }) => ({ reserved: n });
    stock.batchResult = (orders) => orders.map(({ n }) => n);
    stock.replies.length = 0;
    await sql.execute('TRUNCATE reserved, lockstep_outbox_dead');
  });

  const ask = (topic: string, ...ns: number[]) =>
    sql.transaction(async () =>
      outbox.publishMany(ns.map((n) => ({ topic, body: { n }, key: `order ${n}`, callback: 'reserved' }))),
    );
  const reserved = async () => (await sql.query<Order>('SELECT n FROM reserved ORDER BY n')).map(({ n }) => n);
  const untilReplies = (count: number) => eventually(() => expect(stock.replies).toHaveLength(count));

  it('brings what the handler returned back to whoever asked, with the key and the id of the message', async () => {
    const [id] = await ask('reserve', 1);
    await untilReplies(1);
    const reply = { outcome: 'done', consumer: 'stock', result: { reserved: 1 } };
    expect(stock.replies).toEqual([{ reply, inReplyTo: id, key: 'order 1' }]);
    expect(await reserved()).toEqual([1]);
  });

  it('replies null for a handler that returned nothing, and not at all where nobody asked', async () => {
    stock.result = () => undefined;
    await sql.transaction(async () => outbox.publish('reserve', { n: 1 }));
    await ask('reserve', 2);
    await untilReplies(1);
    await eventually(async () => expect(await reserved()).toEqual([1, 2]));
    expect(stock.replies).toMatchObject([{ reply: { outcome: 'done', result: null }, key: 'order 2' }]);
  });

  it('replies only to what is committed: a result that is no JSON fails the handler', async () => {
    stock.result = () => new Map([[1, 2]]);
    await ask('reserve', 3);
    await untilReplies(1);
    expect(stock.replies).toMatchObject([{ reply: { outcome: 'failed', error: expect.stringContaining('a Map') } }]);
    expect(await reserved()).toEqual([]);
  });

  it.each([
    ['refused', () => new MessageRefusedError('out of stock'), 'out of stock'],
    ['tried too often', () => new Error('always'), 'always'],
  ])('tells whoever asked that a message was given up: %s', async (_, failure, text) => {
    stock.result = failure;
    const [id] = await ask('reserve', 4);
    await untilReplies(1);
    expect(stock.replies).toMatchObject([
      { reply: { outcome: 'failed', consumer: 'stock', error: expect.stringContaining(text) }, inReplyTo: id },
    ]);
    await eventually(async () => expect(await deadLetters.list()).toHaveLength(1));
    expect(await reserved()).toEqual([]);
  });

  it('replies done after failed when the dead letter is replayed', async () => {
    stock.result = () => new MessageRefusedError('not today');
    await ask('reserve', 5);
    await untilReplies(1);
    stock.result = () => 'today';
    await eventually(async () => expect(await deadLetters.replayAll({ topic: 'reserve' })).toBe(1));
    await untilReplies(2);
    expect(stock.replies.map(({ reply }) => reply.outcome)).toEqual(['failed', 'done']);
  });

  it('replies to each message of a batch with its own result', async () => {
    const ids = await ask('reserve.all', 1, 2, 3);
    await untilReplies(3);
    const told = stock.replies.map(({ reply, inReplyTo }) => [inReplyTo, (reply as { result: unknown }).result]);
    expect(told.sort()).toEqual(ids.map((id, index) => [id, index + 1]).sort());
  });

  it('takes a batch for failed whose results are not one for each message', async () => {
    stock.batchResult = () => [1, 2];
    await ask('reserve.all', 1);
    await untilReplies(1);
    expect(stock.replies).toMatchObject([
      { reply: { outcome: 'failed', error: expect.stringContaining('as many results') } },
    ]);
  });

  it('refuses a callback below the topics of Lockstep', async () => {
    const attempt = sql.transaction(async () => outbox.publish('reserve', {}, { callback: 'lockstep.ack' }));
    await expect(attempt).rejects.toThrow('its callback is no topic of an application');
  });

  describe('of a message that is given up more than once', () => {
    const route = { topic: 'reserve', consumer: 'stock' };
    const hands = new HandTransport();
    let other: OutboxApplication;
    beforeAll(async () => {
      const transport = { useFactory: () => hands };
      other = await startOutbox({
        url: postgres.url,
        providers: [Stock],
        transport,
        origin: 'b',
        run: { relay: false },
      });
      await eventually(() => expect(hands.isConsumed(route)).toBe(true));
      other.app.get(Stock).result = () => new MessageRefusedError('never');
    });
    afterAll(() => other.app.close());

    const delivery = (id: string, callback: string) => {
      const headers = { 'Lockstep-Origin': 'elsewhere', 'Lockstep-Callback': callback };
      const message = { id, topic: 'reserve', key: undefined, payload: '{"n":9}', headers, publishedAt: 1 };
      return { message, attempt: 1 };
    };
    // The relay of the first application may have parked it by now, for nobody subscribes to its topic.
    const published = async (id: string) =>
      sql.query(
        `SELECT 1 FROM (SELECT headers FROM lockstep_outbox UNION ALL SELECT headers FROM lockstep_outbox_inflight) written
         WHERE headers::json ->> 'Lockstep-In-Reply-To' = $1`,
        [id],
      );

    it('publishes one failed reply, whatever happens between it and the end of the delivery', async () => {
      const id = uuidv7();
      for (let time = 0; time < 2; time += 1) {
        expect(await hands.hand(route, delivery(id, 'elsewhere'))).toMatchObject([{ outcome: 'dead' }]);
      }
      expect(await published(id)).toHaveLength(1);
    });

    it('does not let go of a message whose reply could not be written, and tells nobody of its end until then', async () => {
      const id = uuidv7();
      const store = other.app.get<OutboxStore>(OUTBOX_STORE);
      const down = new StoreUnavailableError({ store: 'postgres', operation: 'append', outcome: 'not-applied' });
      const append = vi.spyOn(store as Required<OutboxStore>, 'appendLast').mockRejectedValueOnce(down);
      const [acks] = [hands.published.length];
      expect(await hands.hand(route, delivery(id, 'elsewhere'))).toMatchObject([{ outcome: 'postpone' }]);
      append.mockRestore();
      expect(hands.published.slice(acks).filter(({ payload }) => payload.includes('"dead"'))).toEqual([]);
      expect(await hands.hand(route, delivery(id, 'elsewhere'))).toMatchObject([{ outcome: 'dead' }]);
      expect(await published(id)).toHaveLength(1);
    });

    it('ends a message whose reply can never be published', async () => {
      expect(await hands.hand(route, delivery(uuidv7(), 'Not A Topic'))).toMatchObject([{ outcome: 'dead' }]);
      expect(other.incidents.map(({ code }) => code)).toContain('OUTBOX_REPLY_FAILED');
    });
  });
});
