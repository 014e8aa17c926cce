import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import {
  MessageInvalidError,
  OUTBOX_STORE,
  Outbox,
  OutboxService,
  type OutgoingMessage,
  type PublishOptions,
} from '@lockstep/outbox';
import { Sql, Transactional, TransactionEndedError, TransactionRequiredError } from '@lockstep/sql';
import { pgTransaction } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Injectable } from '@nestjs/common';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

interface Order {
  readonly id: string;
  readonly total: number;
}

@Injectable()
class Orders {
  runs = 0;

  @Transactional()
  @Outbox('order.placed', { key: (order: Order) => order.id, body: ({ total }: Order) => ({ total }) })
  async place(id: string, total: number): Promise<Order> {
    this.runs += 1;
    return { id, total };
  }

  @Outbox('order.paid')
  async pay(id: string): Promise<Order> {
    this.runs += 1;
    return { id, total: 1 };
  }
}

/** As those of libraries, which run when they are awaited. */
class Query {
  // biome-ignore lint/suspicious/noThenProperty: that is what is refused
  then(): void {}
}

class Line {
  constructor(readonly price: number) {}
  total(): number {
    return this.price;
  }
}

describe('Publishing', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let orders: Orders;

  beforeAll(async () => {
    const run = { relay: false, consumers: false };
    application = await startOutbox({ url: postgres.url, run, providers: [Orders], maxMessageBytes: 2_048 });
    ({ sql } = application);
    outbox = application.app.get(OutboxService);
    orders = application.app.get(Orders);
  });
  afterAll(() => application.app.close());
  beforeEach(() => sql.execute('TRUNCATE lockstep_outbox'));

  const rows = () =>
    sql.query<{ topic: string; key: string | null; payload: string; headers: string; shard: number }>(
      'SELECT topic, key, payload, headers, shard FROM lockstep_outbox ORDER BY published_at, id',
    );
  const payloads = async () => (await rows()).map(({ payload }) => JSON.parse(payload) as unknown);

  it('publishes what a decorated method did, with its transaction, and passes the result unchanged', async () => {
    const order = await orders.place('o-1', 12);
    expect(order).toEqual({ id: 'o-1', total: 12 });
    const [row] = await rows();
    expect(row).toMatchObject({ topic: 'order.placed', key: 'o-1', payload: '{"total":12}' });
    expect(JSON.parse(row?.headers ?? '')).toEqual({ 'Lockstep-Origin': 'mall', 'Lockstep-Durability': 'until-ack' });
  });

  it.each<[string, object | null]>([
    ['options', null],
    ['options.kye', { kye: () => 'k' }],
    ['key', { key: 'k' }],
    ['key', { ordered: 'strict' }],
    ['ordered', { ordered: 'Strict', key: () => 'k' }],
    ['delay', { delay: 'soon' }],
    ['callback', { callback: 'Not A Topic' }],
  ])('refuses a wrong %s of @Outbox where it is written: %j', (option, options) => {
    expect(() => Outbox('t', options as object)).toThrow(`@Outbox ${option}`);
    expect(() => Outbox('t', options as object)).toThrow(ConfigurationError);
  });

  it('refuses to publish outside of a transaction, before the method has done anything', async () => {
    orders.runs = 0;
    await expect(orders.pay('o-1')).rejects.toThrow(TransactionRequiredError);
    await expect(outbox.publish('order.paid', {})).rejects.toMatchObject({
      code: 'TRANSACTION_REQUIRED',
      message: expect.stringContaining('outbox.publish'),
    });
    expect(orders.runs).toBe(0);
    expect(await rows()).toEqual([]);
  });

  it('refuses to publish in a transaction that has ended', async () => {
    const late = await sql.transaction(async (tx) => () => outbox.publish('t', {}, { tx }));
    await expect(late()).rejects.toThrow(TransactionEndedError);
    expect(await rows()).toEqual([]);
  });

  it('publishes nothing when the transaction rolls back', async () => {
    const attempt = sql.transaction(async () => {
      await outbox.publish('t', { n: 1 });
      throw new Error('no');
    });
    await expect(attempt).rejects.toThrow('no');
    expect(await rows()).toEqual([]);
  });

  it('forgets exactly the messages of a savepoint that rolls back', async () => {
    await sql.transaction(async (tx) => {
      await outbox.publish('t', 1);
      const nested = tx.savepoint?.(async () => {
        await outbox.publish('t', 2);
        throw new Error('undo');
      });
      await expect(nested).rejects.toThrow('undo');
      await tx.savepoint?.(async () => outbox.publish('t', 3));
      await outbox.publish('t', 4);
    });
    expect(await payloads()).toEqual([1, 3, 4]);
  });

  it('sends all messages of a transaction as one statement, in the order of publication', async () => {
    const store = application.app.get<{ appendLast: (...args: unknown[]) => Promise<void> }>(OUTBOX_STORE);
    const append = vi.spyOn(store, 'appendLast');
    await sql.transaction(async () => {
      for (let n = 0; n < 20; n += 1) await outbox.publish('t', n, { key: 'same' });
      await outbox.publishMany([
        { topic: 't', body: 20, key: 'same' },
        { topic: 't', body: 21, key: 'same' },
      ]);
    });
    expect(append).toHaveBeenCalledTimes(1);
    append.mockRestore();
    expect(await payloads()).toEqual(Array.from({ length: 22 }, (_, n) => n));
    expect(new Set((await rows()).map(({ shard }) => shard)).size).toBe(1);
  });

  it('takes messages also from hooks that run before the commit', async () => {
    await sql.transaction(async (tx) => {
      await outbox.publish('t', 1);
      tx.beforeCommit?.(async () => {
        await outbox.publish('t', 2);
        tx.beforeCommit?.(async () => void (await outbox.publish('t', 3)));
      });
    });
    expect(await payloads()).toEqual([1, 2, 3]);
  });

  it('inserts at once in a transaction that cannot be observed, and belongs to it all the same', async () => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    for (const end of ['ROLLBACK', 'COMMIT']) {
      await client.query('BEGIN');
      await outbox.publish('t', end, { tx: pgTransaction(client) });
      await client.query(end);
    }
    await client.end();
    expect(await payloads()).toEqual(['COMMIT']);
  });

  it('publishes into the transaction that is named, not into the current one', async () => {
    await sql.transaction(async (outer) => {
      const inner = sql.transaction(
        async () => {
          await outbox.publish('t', 'outer', { tx: outer });
          await outbox.publish('t', 'inner');
          throw new Error('undo');
        },
        { propagation: 'requires-new' },
      );
      await expect(inner).rejects.toThrow('undo');
    });
    expect(await payloads()).toEqual(['outer']);
  });

  it.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /its body is undefined/],
    ['a function', () => 1, /of type function/],
    ['a function inside', { a: { f: () => 1 } }, /'a.f' is of type function/],
    ['a Promise', Promise.resolve({ id: 1 }), /it is a Promise \(is an await missing\?\)\./],
    [
      'a Promise in a list',
      { lines: [{ price: 1 }, { price: Promise.resolve(1) }] },
      /'lines\[1\].price' is a Promise/,
    ],
    ['a query that nobody awaited', { rows: new Query() }, /'rows' is a Promise/],
    ['an Error', { failure: new TypeError('x') }, /'failure' is an Error/],
    ['a RegExp', { pattern: /x/ }, /'pattern' is a RegExp/],
    ['a WeakMap', { w: new WeakMap() }, /'w' is a WeakMap/],
    ['a WeakSet', { w: new WeakSet() }, /'w' is a WeakSet/],
    ['an invalid Date', { at: [new Date(Number.NaN)] }, /'at\[0\]' is an invalid Date/],
    ['a typed array', { bytes: new Uint8Array(2) }, /'bytes' is a buffer/],
    ['a symbol inside', [[{ s: Symbol('x') }]], /'\[0\]\[0\].s' is of type symbol/],
    ['of an object that throws something odd', thrower(), /its body is no JSON: /],
    ['a BigInt', { amount: 1n }, /'amount' is of type bigint/],
    ['a Map', { m: new Map() }, /'m' is a Map/],
    ['no number', { price: Number.NaN }, /'price' is NaN/],
    ['a hole in a list', { list: [1, undefined] }, /of type undefined/],
    ['a circle', circle(), /circular/i],
    ['too large', 'x'.repeat(3_000), /maxMessageBytes is 2048/],
  ])('refuses a body that is %s, and says so', async (_, body, message) => {
    const attempt = sql.transaction(async () => outbox.publish('t', body));
    await expect(attempt).rejects.toThrow(MessageInvalidError);
    await expect(attempt).rejects.toThrow(message);
    expect(await rows()).toEqual([]);
  });

  it('takes plain objects, lists, instances, dates, and whatever has a toJSON', async () => {
    const line = new Line(2);
    const shared = { a: [line, line], at: new Date(0), none: null, left: undefined, bytes: Buffer.from('ab') };
    await sql.transaction(async () =>
      outbox.publish('t', { ...shared, bare: Object.assign(Object.create(null), { x: 1 }) }),
    );
    expect(await payloads()).toEqual([
      {
        a: [{ price: 2 }, { price: 2 }],
        at: '1970-01-01T00:00:00.000Z',
        none: null,
        bytes: { type: 'Buffer', data: [97, 98] },
        bare: { x: 1 },
      },
    ]);
  });

  it.each<[string, unknown]>([
    ['{}', {}],
    ['a number', 5],
    ['null', null],
  ])('refuses %s where a transaction is named', async (_, tx) => {
    const attempt = sql.transaction(async () => outbox.publish('t', 1, { tx } as PublishOptions));
    await expect(attempt).rejects.toMatchObject({ kind: 'misuse', message: expect.stringMatching(/^Option 'tx' is/) });
  });

  it('refuses a message that is none', async () => {
    const attempt = sql.transaction(async () => outbox.publishMany([null] as unknown as OutgoingMessage[]));
    await expect(attempt).rejects.toThrow(MessageInvalidError);
  });

  it.each<[string, object]>([
    ['dealy', { dealy: '5m' }],
    ['durability', { key: 'k', durability: 'on-accept' }],
  ])('refuses to publish with an option %s, that nobody would obey', async (name, options) => {
    const attempt = sql.transaction(async () => outbox.publish('t', 1, options));
    await expect(attempt).rejects.toThrow(MessageInvalidError);
    await expect(attempt).rejects.toThrow(`'${name}' is no option`);
    expect(await rows()).toEqual([]);
  });

  it('refuses a list with an unknown option of a message, or of the call', async () => {
    const typo = { topic: 't', body: 1, dealy: '5m' } as OutgoingMessage;
    const one = sql.transaction(async () => outbox.publishMany([{ topic: 't', body: 0 }, typo]));
    await expect(one).rejects.toMatchObject({ code: 'MESSAGE_INVALID', message: expect.stringContaining("'dealy'") });
    const within = sql.transaction(async (tx) => outbox.publishMany([{ topic: 't', body: 0, tx } as OutgoingMessage]));
    await expect(within).rejects.toMatchObject({ code: 'MESSAGE_INVALID', message: expect.stringContaining("'tx'") });
    const all = sql.transaction(async () => outbox.publishMany([{ topic: 't', body: 0 }], { delay: '5m' } as object));
    await expect(all).rejects.toMatchObject({ code: 'MESSAGE_INVALID', message: expect.stringContaining("'delay'") });
    expect(await rows()).toEqual([]);
  });

  it.each<[string, { topic?: string; key?: string; headers?: Record<string, string> }]>([
    ['topic', { topic: 'Order Placed' }],
    ['topic', { topic: 'lockstep.ack' }],
    ['key', { key: '' }],
    ['key', { key: 'a\0b' }],
    ['key', { key: '\ud800' }],
    ['key', { key: 'x'.repeat(257) }],
    ['header', { headers: { 'Lockstep-Origin': 'elsewhere' } }],
    ['header', { headers: { 'lockstep-origin': 'elsewhere' } }],
    ['header', { headers: { 'a b': 'c' } }],
    ["header 'x' has a NUL", { headers: { x: 'a\0b' } }],
    ["header 'x' has a NUL", { headers: { x: '\udc00' } }],
    ['its key has a NUL', { key: 'a\0b' }],
    ['its headers are no object', { headers: null as unknown as Record<string, string> }],
  ])('refuses a bad %s: %j', async (what, { topic = 't', ...options }) => {
    const attempt = sql.transaction(async () => outbox.publish(topic, 1, options));
    await expect(attempt).rejects.toMatchObject({ code: 'MESSAGE_INVALID', message: expect.stringContaining(what) });
  });
});

function circle(): unknown {
  const one: { one?: unknown } = {};
  one.one = one;
  return one;
}

function thrower(): unknown {
  return {
    toJSON() {
      throw Object.create(null);
    },
  };
}
