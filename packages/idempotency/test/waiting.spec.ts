import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { MemoryIdempotencyStore, NotApplied } from '@lockstep/idempotency';
import { eventually, type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openServiceApp, type ServiceApp } from './support/service-app.js';

const LONG_MS = 20_000;

// One of its own, because its commands are counted.
let redis: RedisServer;
let server: { readonly url: string; readonly prefix: string };
beforeAll(async () => {
  redis = await startRedis();
  server = { url: redis.url, prefix: 'waiting' };
});
afterAll(() => redis?.stop());

function work(key: string = randomUUID()) {
  return { scope: 'test', operation: 'charge', key, payload: { amount: 1 } };
}

/** Work that lasts until it is let go. */
function held(result: () => unknown = () => 'done') {
  let finish = (): void => undefined;
  let begin = (): void => undefined;
  const end = new Promise<void>((resolve) => (finish = resolve));
  const started = new Promise<void>((resolve) => (begin = resolve));
  const fn = async (): Promise<unknown> => {
    begin();
    await end;
    return result();
  };
  return { finish, started, fn };
}

describe('a repetition that waits', () => {
  let first: ServiceApp;
  let other: ServiceApp;
  beforeAll(async () => {
    [first, other] = await Promise.all([openServiceApp(server), openServiceApp(server)]);
  });
  afterAll(() => Promise.all([first.close(), other.close()]));

  it('gets the first answer as soon as it is there, from another process, without asking again and again', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    const counter = await redisCommandCounter(server.url);
    const waiter = other.service.run(operation, () => Promise.reject(new Error('it ran')), { waitMs: LONG_MS });
    await eventually(async () => expect((await counter.counts()).SUBSCRIBE).toBe(1));
    const finishedAt = monotonicMs();
    finish();
    expect(await waiter).toBe('done');
    expect(monotonicMs() - finishedAt).toBeLessThan(1_000);
    const { EVALSHA = 0 } = await counter.counts();
    counter.stop();
    // Asked, asked again once it hears pushes, told; and the end of the first one.
    expect(EVALSHA).toBe(4);
    await running;
  });

  it('gets the first answer when many wait in many processes, which run nothing', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    let runs = 0;
    const again = async () => {
      runs += 1;
      return 'another';
    };
    const waiters = Array.from({ length: 40 }, (_, n) =>
      (n % 2 === 0 ? first : other).service.run(operation, again, { waitMs: LONG_MS }),
    );
    finish();
    expect(new Set(await Promise.all([...waiters, running]))).toEqual(new Set(['done']));
    expect(runs).toBe(0);
  });

  it('runs itself when the first one says that nothing happened, and only one of many does', async () => {
    const operation = work();
    const { fn, finish, started } = held(() => {
      throw new NotApplied(new Error('sold out'));
    });
    const running = first.service.run(operation, fn);
    await started;
    let runs = 0;
    const again = async () => {
      runs += 1;
      return 'second';
    };
    const waiters = Array.from({ length: 10 }, () => other.service.run(operation, again, { waitMs: LONG_MS }));
    finish();
    await expect(running).rejects.toThrow('sold out');
    expect(new Set(await Promise.all(waiters))).toEqual(new Set(['second']));
    expect(runs).toBe(1);
  });

  it('is told that somebody is at it when its wait is over, and not before', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    const startedAt = monotonicMs();
    await expect(other.service.run(operation, fn, { waitMs: 300 })).rejects.toMatchObject({
      code: 'OPERATION_IN_PROGRESS',
    });
    expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(299);
    finish();
    await running;
  });

  it('stops waiting when its caller leaves, and when its process ends', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    const caller = new AbortController();
    const leaving = other.service.run(operation, fn, { waitMs: LONG_MS }, caller.signal);
    caller.abort();
    await expect(leaving).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    const third = await openServiceApp(server);
    const counter = await redisCommandCounter(server.url);
    const waiting = third.service.run(operation, fn, { waitMs: LONG_MS });
    await eventually(async () => expect((await counter.counts()).SUBSCRIBE).toBe(1));
    counter.stop();
    const refused = expect(waiting).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    await third.close();
    await refused;
    finish();
    await running;
  });

  it('refuses another payload at once, though somebody is at it', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    const wrong = { ...operation, payload: { amount: 2 } };
    await expect(other.service.run(wrong, fn, { waitMs: LONG_MS })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
    });
    finish();
    await running;
  });

  it('leaves nobody subscribed behind', async () => {
    const operation = work();
    const { fn, finish, started } = held();
    const running = first.service.run(operation, fn);
    await started;
    const waiter = other.service.run(operation, fn, { waitMs: LONG_MS });
    finish();
    await Promise.all([running, waiter]);
    const counter = await redisCommandCounter(server.url);
    const { UNSUBSCRIBE = 0, SUBSCRIBE = 0 } = await counter.counts();
    counter.stop();
    expect(SUBSCRIBE).toBeLessThanOrEqual(UNSUBSCRIBE + 1);
  });
});

describe('a repetition that waits at a store that cannot push', () => {
  it('asks again until the first one has ended', async () => {
    const store = new MemoryIdempotencyStore();
    const silent = new Proxy(store, { has: (target, name) => name !== 'watch' && name in target });
    const app = await openServiceApp(server, { store: { useFactory: () => silent } } as never);
    const operation = work();
    const { fn, finish, started } = held();
    const running = app.service.run(operation, fn);
    await started;
    const waiter = app.service.run(operation, fn, { waitMs: LONG_MS });
    finish();
    expect(await waiter).toBe('done');
    await running;
    await app.close();
  });

  it('asks again where the pushes cannot be had just now, which is reported', async () => {
    const store = new MemoryIdempotencyStore();
    store.watch = () =>
      Promise.reject(new StoreUnavailableError({ store: 'test', operation: 'watch', outcome: 'unknown' }));
    const app = await openServiceApp(server, { store: { useFactory: () => store } } as never);
    const operation = work();
    const { fn, finish, started } = held();
    const running = app.service.run(operation, fn);
    await started;
    const waiter = app.service.run(operation, fn, { waitMs: LONG_MS });
    await eventually(() => expect(app.incidents.map(({ code }) => code)).toEqual(['WAIT_NOT_PUSHED']));
    finish();
    expect(await waiter).toBe('done');
    await running;
    await app.close();
  });

  it('is told that the store is down when it falls silent meanwhile, and leaves no claim behind', async () => {
    const store = new MemoryIdempotencyStore();
    const begin = store.begin.bind(store);
    let asked = 0;
    store.begin = async (request) => {
      asked += 1;
      if (asked < 3) return begin(request);
      throw new StoreUnavailableError({ store: 'test', operation: 'begin', outcome: 'unknown' });
    };
    const app = await openServiceApp(server, { store: { useFactory: () => store } } as never);
    const operation = work();
    const { fn, finish, started } = held();
    const running = app.service.run(operation, fn);
    await started;
    await expect(app.service.run(operation, fn, { waitMs: LONG_MS })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
    });
    finish();
    await running;
    await app.close();
  });
});
