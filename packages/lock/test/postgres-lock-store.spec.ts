import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { eventually, startStatementCounter } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hold, wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';
import { startTransactionPooler } from './support/transaction-pooler.js';

const READER = { capacity: Number.POSITIVE_INFINITY };
const postgres = usePostgres();
let locks: PostgresLocks;
let one: OpenedPostgres;
let other: OpenedPostgres;

beforeAll(async () => {
  locks = await PostgresLocks.connect(postgres.url);
});
afterAll(() => locks.end());
beforeEach(async () => {
  one = await openPostgres(postgres.url, { waiters: 2 });
  other = await openPostgres(postgres.url);
});
afterEach(() => Promise.all([one.app.close(), other.app.close()]));

describe('locks on Postgres', () => {
  it('are granted once by a session that would grant them twice (C2)', async () => {
    const key = randomUUID();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => one.store.acquire(wish({ key }))));
    expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(1);
    expect(await locks.count(true)).toBe(1);
  });

  it('need one unlock each: a released one is free for another session', async () => {
    const holder = await hold(one.store);
    await Promise.all(Array.from({ length: 5 }, () => one.store.acquire(wish({ key: holder.key }))));
    await one.store.release([holder]);
    await hold(other.store, { key: holder.key });
  });

  it('of readers of one process are held until the last of them is done', async () => {
    const first = await hold(one.store, READER);
    const second = await hold(one.store, { ...READER, key: first.key });
    expect(await one.store.release([first])).toEqual([{ status: 'released' }]);
    expect(await other.store.acquire(wish({ key: first.key }))).toMatchObject({ status: 'busy' });
    expect(await one.store.release([second])).toEqual([{ status: 'released' }]);
    expect((await hold(other.store, { key: first.key })).fence).toBeGreaterThan(second.fence);
  });

  it('get their fence when they are held, not when they are asked for', async () => {
    const holder = await hold(one.store);
    const waiter = hold(other.store, { key: holder.key, waitMs: 10_000 });
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    const meanwhile = await hold(one.store);
    await one.store.release([holder]);
    expect((await waiter).fence).toBeGreaterThan(meanwhile.fence);
  });

  it('have no permits, and say so', async () => {
    expect(() => one.store.acquire(wish({ capacity: 3 }))).toThrow(/one of 3 permits/);
  });

  it('that were waited for stay with the session that got them', async () => {
    const holder = await hold(other.store);
    const waiter = hold(one.store, { key: holder.key, waitMs: 10_000 });
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    await other.store.release([holder]);
    const next = await waiter;
    expect(await one.store.extend([{ ...next, ttlMs: 10_000 }])).toMatchObject([{ status: 'extended' }]);
    expect(await one.store.release([next])).toEqual([{ status: 'released' }]);
    await hold(other.store, { key: holder.key });
  });

  it('are waited for by more than there are sessions, each in the bounds of its own wait', async () => {
    const held = await Promise.all(Array.from({ length: 8 }, () => hold(other.store)));
    const waiting = held.map(({ key }) => hold(one.store, { key, waitMs: 15_000 }));
    const late = one.store.acquire(wish({ key: held[0]?.key ?? '', waitMs: 200 }));
    await eventually(async () => expect(await locks.count(false)).toBe(2));
    expect(await late).toMatchObject({ status: 'busy' });
    // The last first: none of those who have a session is in its way.
    for (const holder of [...held].reverse()) await other.store.release([holder]);
    const served = await Promise.all(waiting);
    expect(await one.store.release(served)).toEqual(served.map(() => ({ status: 'released' })));
    // One for each store that carries what was free, and the two that wait.
    expect((await locks.sessions()).length).toBeLessThanOrEqual(4);
  });

  it('are not given to a newcomer while one of its process waits for a session', async () => {
    const blockers = [await hold(other.store), await hold(other.store)];
    const blocked = blockers.map(({ key }) => hold(one.store, { key, waitMs: 15_000 }));
    await eventually(async () => expect(await locks.count(false)).toBe(2));
    for (let round = 0; round < 5; round += 1) {
      const holder = await hold(other.store);
      const queued = hold(one.store, { key: holder.key, waitMs: 15_000 });
      await one.store.inspect(holder.key);
      await other.store.release([holder]);
      expect(await one.store.acquire(wish({ key: holder.key }))).toMatchObject({ status: 'busy' });
      await one.store.release([await queued]);
    }
    await other.store.release(blockers);
    await Promise.all(blocked);
  });

  it('leave no waiter behind that left while its wait began', async () => {
    const holder = await hold(other.store);
    for (let round = 0; round < 40; round += 1) {
      const controller = new AbortController();
      const left = one.store.acquire({ ...wish({ key: holder.key, waitMs: 30_000 }), signal: controller.signal });
      left.catch(() => undefined);
      // Each round a little later in what the request goes through.
      for (let step = 0; step < round % 8; step += 1) await one.store.inspect(holder.key);
      controller.abort(new Error('left'));
      await expect(left).rejects.toThrow('left');
    }
    await eventually(async () => expect(await locks.count(false)).toBe(0));
    await other.store.release([holder]);
    await eventually(() => hold(other.store, { key: holder.key }));
  });

  it('leave nothing behind of a thousand keys', async () => {
    for (let n = 0; n < 1_000; n += 100) {
      const held = await Promise.all(Array.from({ length: 100 }, () => hold(one.store)));
      await one.store.release(held);
    }
    expect(await locks.count(true)).toBe(0);
    const keeper = Reflect.get(one.store, 'keeper');
    await eventually(() => expect(Reflect.get(Reflect.get(keeper, 'gate'), 'last').size).toBe(0));
    expect(Reflect.get(Reflect.get(keeper, 'host').held, 'byKey').size).toBe(0);
    expect(Reflect.get(one.store, 'wishes').size).toBe(0);
  });

  it('fail alone: a lock that cannot be granted keeps no other from being given back, and stays free', async () => {
    const holder = await hold(one.store);
    const key = randomUUID();
    await locks.client.query('ALTER SEQUENCE lockstep_lock_fence RENAME TO gone');
    const [taken, given] = await Promise.allSettled([one.store.acquire(wish({ key })), one.store.release([holder])]);
    await locks.client.query('ALTER SEQUENCE gone RENAME TO lockstep_lock_fence');
    expect(taken).toMatchObject({ status: 'rejected', reason: { code: '42P01' } });
    expect(given).toMatchObject({ status: 'fulfilled', value: [{ status: 'released' }] });
    expect(await locks.count(true)).toBe(0);
    await hold(one.store, { key });
  });

  it('that were taken, and then failed for want of a fence, are given back', async () => {
    const [{ fence }, key] = [await hold(one.store), randomUUID()];
    await locks.client.query(`ALTER SEQUENCE lockstep_lock_fence MAXVALUE ${fence}`);
    const outcomes = await Promise.allSettled([one.store.acquire(wish({ key })), one.store.acquire(wish())]);
    await locks.client.query('ALTER SEQUENCE lockstep_lock_fence NO MAXVALUE');
    for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: '2200H' } });
    expect(await locks.count(true)).toBe(1);
    await hold(other.store, { key });
  });

  it('that were waited for, and then failed for want of a fence, are given back', async () => {
    const holder = await hold(other.store);
    const waiter = one.store.acquire(wish({ key: holder.key, waitMs: 15_000 }));
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    await locks.client.query(`ALTER SEQUENCE lockstep_lock_fence MAXVALUE ${holder.fence}`);
    await other.store.release([holder]);
    await expect(waiter).rejects.toMatchObject({ code: '2200H' });
    await locks.client.query('ALTER SEQUENCE lockstep_lock_fence NO MAXVALUE');
    expect(await locks.count(true)).toBe(0);
  });

  it('are told apart by namespace', async () => {
    const { key } = await hold(one.store);
    const stranger = await openPostgres(postgres.url, { namespace: 'another' });
    await hold(stranger.store, { key });
    await stranger.app.close();
  });

  it('of names with the same 64 bits are one lock', async () => {
    Reflect.set(one.store, 'options', { ...Reflect.get(one.store, 'options'), keyOf: () => 42n });
    const first = await hold(one.store, { key: 'one name' });
    expect(await one.store.acquire(wish({ key: 'another' }))).toMatchObject({ status: 'busy' });
    expect(await one.store.release([first])).toEqual([{ status: 'released' }]);
    const second = await hold(one.store, { key: 'another' });
    expect(await one.store.release([{ ...first, token: second.token, key: 'another' }])).toEqual([
      { status: 'released' },
    ]);
    expect(await locks.count(true)).toBe(0);
  });
});

describe('statements on Postgres', () => {
  it('are one to take a free lock, one to give it back, one to extend all', async () => {
    const counter = await startStatementCounter(postgres.url);
    const counted = await openPostgres(postgres.url, { lockUrl: counter.url });
    await hold(counted.store);
    counter.take();
    const held = [await hold(counted.store)];
    expect(counter.take()).toBe(1);
    held.push(...(await Promise.all([hold(counted.store), hold(counted.store), hold(counted.store)])));
    counter.take();
    await counted.store.extend(held.map((lease) => ({ ...lease, ttlMs: 10_000 })));
    expect(counter.take()).toBe(1);
    await counted.store.release(held.slice(0, 1));
    expect(counter.take()).toBe(1);
    await counted.app.close();
    await counter.stop();
  });

  it('are none while a waiter waits, and few for many who ask at one time', async () => {
    const counter = await startStatementCounter(postgres.url);
    const counted = await openPostgres(postgres.url, { lockUrl: counter.url });
    const { key } = await hold(other.store);
    const controller = new AbortController();
    const waiter = counted.store.acquire({ ...wish({ key, waitMs: 30_000 }), signal: controller.signal });
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    counter.take();
    const held = await Promise.all(Array.from({ length: 200 }, () => hold(counted.store)));
    expect(held).toHaveLength(200);
    expect(counter.take()).toBeLessThan(10);
    controller.abort(new Error('left'));
    await expect(waiter).rejects.toThrow('left');
    await counted.app.close();
    await counter.stop();
  });
});

describe('an operator', () => {
  it('takes one lock of a session away, and the others stay', async () => {
    const losses: unknown[] = [];
    const onLost = (cause: unknown): number => losses.push(cause);
    const [taken, kept] = [await hold(one.store, { onLost }), await hold(one.store, { onLost })];
    const { holders } = await other.store.inspect(taken.key);
    expect(await other.store.release([{ ...taken, token: holders[0]?.token ?? '' }])).toEqual([{ status: 'released' }]);
    expect(losses).toEqual(['stolen']);
    await hold(other.store, { key: taken.key });
    expect(await one.store.extend([{ ...kept, ttlMs: 10_000 }])).toMatchObject([{ status: 'extended' }]);
  });

  it('ends the session of a process that does not answer', async () => {
    const key = randomUUID();
    const bits = Reflect.get(one.store, 'options').keyOf(key);
    const deaf = new pg.Client(postgres.url);
    deaf.on('error', () => undefined);
    await deaf.connect();
    await deaf.query('SELECT pg_advisory_lock($1)', [bits.toString()]);
    const { holders } = await other.store.inspect(key);
    expect(holders).toHaveLength(1);
    expect(await other.store.release([{ key, token: holders[0]?.token ?? '', deadline: 0 }])).toEqual([
      { status: 'released' },
    ]);
    await hold(one.store, { key });
    await deaf.end();
  });

  it('is told the tokens of the holders in his own process, and how many wait', async () => {
    const holder = await hold(one.store);
    const waiter = hold(other.store, { key: holder.key, waitMs: 10_000 });
    await eventually(async () => expect(await one.store.inspect(holder.key)).toMatchObject({ waiters: 1 }));
    expect(await one.store.inspect(holder.key)).toMatchObject({ holders: [{ token: holder.token }] });
    await one.store.release([holder]);
    await waiter;
  });

  it('cannot take what a session does not hold', async () => {
    const { key } = await hold(one.store);
    const { holders } = await other.store.inspect(key);
    const elsewhere = { key: randomUUID(), token: holders[0]?.token ?? '', deadline: 0 };
    expect(await other.store.release([elsewhere])).toEqual([{ status: 'not-held' }]);
  });
});

describe('a pooler before Postgres', () => {
  for (const [name, tellsBackend] of [
    ['that invents a process', false],
    ['that tells the process of a backend', true],
  ] as const) {
    it(`${name} and runs each transaction on the next backend is refused at the first use`, async () => {
      const pooler = await startTransactionPooler(postgres.url, { tellsBackend });
      const pooled = await openPostgres(postgres.url, { lockUrl: pooler.url });
      await expect(pooled.store.acquire(wish())).rejects.toBeInstanceOf(ConfigurationError);
      await expect(pooled.store.acquire(wish())).rejects.toThrow(/pooler/);
      expect(await locks.count(true)).toBe(0);
      await pooled.app.close();
      await pooler.stop();
    });
  }

  it('that has one backend only is refused too: all sessions would be that one', async () => {
    const pooler = await startTransactionPooler(postgres.url, { backends: 1 });
    const pooled = await openPostgres(postgres.url, { lockUrl: pooler.url });
    await expect(pooled.store.acquire(wish())).rejects.toThrow(/pooler/);
    await pooled.app.close();
    await pooler.stop();
  });

  it('is accepted when it is said to keep sessions, and refused when a statement shows that it does not', async () => {
    const keeping = await startTransactionPooler(postgres.url, { backends: 1 });
    const kept = await openPostgres(postgres.url, { lockUrl: keeping.url, pooler: 'session' });
    await hold(kept.store);
    await kept.app.close();
    await keeping.stop();
    const straying = await startTransactionPooler(postgres.url, { backends: 2 });
    const strayed = await openPostgres(postgres.url, { lockUrl: straying.url, pooler: 'session' });
    await expect(strayed.store.acquire(wish())).rejects.toBeInstanceOf(ConfigurationError);
    await strayed.app.close();
    await straying.stop();
  });
});

describe('a database without the sequence of the fences', () => {
  it('is refused with what to do', async () => {
    const stray = new URL(postgres.url);
    stray.pathname = '/postgres';
    const astray = await openPostgres(postgres.url, { lockUrl: stray.href });
    await expect(astray.store.acquire(wish())).rejects.toThrow(/lockstep_lock_fence.*database of SqlModule/);
    await astray.app.close();
  });
});
