import 'reflect-metadata';
import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { AcquireRequest, LockStore } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';
import { passed } from './support/time.js';

const unavailable = new StoreUnavailableError({ store: 'scripted', operation: 'lock', outcome: 'unknown' });
const OTHER = { token: 'other', ttlMs: 1_000, capacity: 1, fairness: 'fifo' } as const;

let store: ScriptedStore;
let running: LockApp;
let heard: string[];

beforeEach(async () => {
  store = new ScriptedStore();
  running = await startLockApp({ ttl: '5s', wait: '2s' }, { useFactory: () => store });
  heard = [];
  running.locks.subscribe(({ type }) => heard.push(type));
});
afterEach(() => running.app.close());

async function isHeld(key: string): Promise<boolean> {
  return (await store.real.inspect(key)).holders.length > 0;
}

describe('minHold', () => {
  it('keeps the lock until it is over though the work is done, and not longer', async () => {
    const startedAt = monotonicMs();
    await running.locks.using('k', { minHold: 200 }, async () => undefined);
    expect(monotonicMs() - startedAt).toBeLessThan(150);
    expect(await running.locks.tryAcquire('k')).toBeUndefined();
    const next = await running.locks.acquire('k');
    expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(199);
    expect(monotonicMs() - startedAt).toBeLessThan(1_500);
    await next.release();
  });

  it('ends on time also for who began to wait while the lease was long', async () => {
    const holder = await running.locks.acquire('k', { ttl: '60s', minHold: 200 });
    const waiter = running.locks.acquire('k', { wait: '10s' });
    await eventually(async () => expect((await store.real.inspect('k')).waiters).toBe(1), { intervalMs: 2 });
    const startedAt = monotonicMs();
    await holder.release();
    await (await waiter).release();
    expect(monotonicMs() - startedAt).toBeLessThan(2_000);
  });

  it('costs nothing when the work took longer', async () => {
    await using lease = await running.locks.acquire('k', { minHold: 30 });
    await passed(40);
    await lease.release();
    expect(await isHeld('k')).toBe(false);
    expect(store.extensions).toEqual([]);
  });

  it('holds beyond the end of the process where the store has leases', async () => {
    const lease = await running.locks.acquire('k', { minHold: '1m' });
    await running.app.close();
    expect(store.extensions.at(-1)).toMatchObject([{ key: 'k', token: lease.token }]);
    expect(store.extensions.at(-1)?.[0]?.ttlMs).toBeGreaterThan(55_000);
  });

  it('is not cut short by a holder that ends after the shutdown began', async () => {
    const releases: string[] = [];
    store.onRelease = (requests) => {
      releases.push(...requests.map(({ key }) => key));
      return store.real.release(requests);
    };
    const lease = await running.locks.acquire('k', { minHold: '1m' });
    await running.app.close();
    await lease.release();
    expect(releases).toEqual([]);
    expect(lease.signal.reason).toMatchObject({ loss: 'shutdown' });
  });

  it('is kept here where locks end with a session, and given back when over', async () => {
    store.abilities = { ...store.abilities, expires: false };
    await running.locks.using('k', { minHold: 100 }, async () => undefined);
    expect([await isHeld('k'), store.extensions, heard]).toEqual([true, [], ['acquired']]);
    await eventually(async () => expect(await isHeld('k')).toBe(false), { intervalMs: 5 });
    expect(heard).toEqual(['acquired', 'released']);
  });

  it('ends with the process where locks end with a session: a shutdown gives them back, and says so', async () => {
    store.abilities = { ...store.abilities, expires: false };
    const released: string[] = [];
    store.onRelease = (requests) => {
      released.push(...requests.map(({ key }) => key));
      return store.real.release(requests);
    };
    await running.locks.using('done', { minHold: '1m' }, async () => undefined);
    await running.locks.acquire('held', { minHold: '1m' });
    await running.app.close();
    expect(released.sort()).toEqual(['done', 'held']);
    expect(running.codes).toEqual(['LOCK_MIN_HOLD_CUT', 'LOCK_MIN_HOLD_CUT']);
  });

  it('is not kept by a grant that nobody got: the work has not run', async () => {
    let grant: () => void = () => undefined;
    const granted = new Promise<void>((resolve) => {
      grant = resolve;
    });
    store.onAcquire = async (request) => {
      const outcome = await store.real.acquire(request);
      await granted;
      return outcome;
    };
    const controller = new AbortController();
    const waiting = running.locks.acquire('k', { minHold: '1m', signal: controller.signal });
    const reason = new Error('the client left');
    controller.abort(reason);
    grant();
    await expect(waiting).rejects.toBe(reason);
    expect([await isHeld('k'), store.extensions, heard]).toEqual([false, [], []]);
  });

  it('that the store cannot keep is an incident and an event, and touches no result', async () => {
    store.onExtend = async (requests) => requests.map(() => ({ status: 'failed', error: unavailable }));
    expect(await running.locks.using('k', { minHold: '1m' }, async () => 42)).toBe(42);
    expect(running.codes).toEqual(['LOCK_MIN_HOLD_CUT']);
    expect(heard).toEqual(['acquired', 'release-failed']);
  });

  it('tells of a loss that only its last extension found out', async () => {
    const work = running.locks.using('k', { minHold: '1m' }, async (lease) => {
      await store.real.release([lease]);
      return 'paid';
    });
    await expect(work).rejects.toMatchObject({ code: 'LOCK_LOST', loss: 'stolen', result: 'paid' });
  });
});

describe('maxHold', () => {
  it('ends the hold though the work goes on and the store answers, and gives the lock to the next', async () => {
    const startedAt = monotonicMs();
    const work = running.locks.using('k', { ttl: 100, maxHold: 300 }, async ({ signal }) => {
      await eventually(() => expect(signal.aborted).toBe(true), { intervalMs: 5 });
      expect(signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'max-hold' });
      await eventually(async () => expect(await isHeld('k')).toBe(false), { intervalMs: 5 });
      return monotonicMs() - startedAt;
    });
    const lost: unknown = await work.catch((error: unknown) => error);
    expect(lost).toMatchObject({ code: 'LOCK_LOST', loss: 'max-hold' });
    expect((lost as { result: number }).result).toBeGreaterThanOrEqual(299);
    expect(heard.filter((type) => type === 'released')).toEqual(['released']);
    expect(heard).toContain('lost');
  });

  it('bounds the deadline, and nothing is extended that would end later anyway', async () => {
    const before = monotonicMs();
    const lease = await running.locks.acquire('k', { ttl: '10s', maxHold: 200 });
    expect(lease.deadline).toBeLessThanOrEqual(monotonicMs() + 200);
    expect(lease.deadline).toBeGreaterThanOrEqual(before + 200);
    await lease.extend();
    expect(lease.deadline).toBeLessThanOrEqual(before + 400);
    await passed(250);
    expect([lease.isHeld(), store.extensions.length]).toEqual([false, 1]);
  });

  it('is no loss for work that ended before', async () => {
    expect(await running.locks.using('k', { maxHold: '1m', minHold: 0 }, async () => 7)).toBe(7);
  });
});

describe('the end of a hold', () => {
  it('hears nothing of a session that ends while the lock is being given back', async () => {
    let tell: AcquireRequest['onLost'];
    store.onAcquire = (request) => {
      tell = request.onLost;
      return store.real.acquire(request);
    };
    store.onRelease = (requests) => {
      tell?.('session');
      return store.real.release(requests);
    };
    expect(await running.locks.using('k', {}, async () => 7)).toBe(7);
    expect(heard).toEqual(['acquired', 'released']);
  });

  it('is known of a session that ended before this process heard of the grant', async () => {
    store.onAcquire = async (request) => {
      const grant = await store.real.acquire(request);
      request.onLost?.('session');
      return grant;
    };
    await expect(running.locks.acquire('k', { wait: 0 })).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(heard).toEqual([]);
  });

  it('lets everybody who releases wait for the same release', async () => {
    let answer: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      answer = resolve;
    });
    store.onRelease = async (requests) => {
      await asked;
      return store.real.release(requests);
    };
    const lease = await running.locks.acquire('k');
    const both = Promise.all([lease.release(), lease.release()]).then(() => isHeld('k'));
    let second = false;
    void lease.release().then(() => {
      second = true;
    });
    await passed(20);
    expect(second).toBe(false);
    answer();
    expect(await both).toBe(false);
  });

  it('never moves backwards when two extensions are answered in the other order', async () => {
    const answers: (() => void)[] = [];
    store.onExtend = async (requests) => {
      const outcomes = await store.real.extend(requests);
      await new Promise<void>((resolve) => answers.push(resolve));
      return outcomes;
    };
    const lease = await running.locks.acquire('k');
    const first = lease.extend();
    await passed(30);
    const second = lease.extend();
    await eventually(() => expect(answers).toHaveLength(2), { intervalMs: 2 });
    answers[1]?.();
    await second;
    const { deadline } = lease;
    answers[0]?.();
    await first;
    expect(lease.deadline).toBe(deadline);
  });

  it('is survived where a store breaks its word and rejects: an incident, and no unhandled rejection', async () => {
    store.onRelease = () => Promise.reject(unavailable);
    store.onExtend = async () => [];
    await running.locks.using('k', {}, async () => undefined);
    await running.locks.using('kept', { minHold: '1m' }, async () => undefined);
    const lease = await running.locks.acquire('limited', { maxHold: 100 });
    await eventually(() => expect(lease.signal.aborted).toBe(true), { intervalMs: 5 });
    await eventually(() => expect(heard.at(-1)).toBe('release-failed'), { intervalMs: 5 });
    expect(running.codes).toEqual(['LOCK_NOT_RELEASED', 'LOCK_MIN_HOLD_CUT', 'LOCK_NOT_RELEASED']);
    await expect((await running.locks.acquire('k2')).extend()).rejects.toThrow('no outcome');
  });
});

describe('a shutdown', () => {
  it('waits for a grant that is on its way, and gives it back', async () => {
    let grant: () => void = () => undefined;
    const onItsWay = new Promise<void>((resolve) => {
      grant = resolve;
    });
    const order: string[] = [];
    store.onAcquire = async (request) => {
      const outcome = await store.real.acquire(request);
      await onItsWay;
      return outcome;
    };
    store.onRelease = async (requests) => {
      order.push(...requests.map(({ key }) => `released ${key}`));
      return store.real.release(requests);
    };
    const refused = expect(running.locks.acquire('k')).rejects.toMatchObject({ code: 'LOCK_SHUTTING_DOWN' });
    const closed = running.app.close().then(() => order.push('closed'));
    await passed(20);
    grant();
    await Promise.all([closed, refused]);
    expect(order).toEqual(['released k', 'closed']);
  });

  it('closes the other stores when one cannot be closed', async () => {
    store.real.close = () => Promise.reject(unavailable);
    const named = new ScriptedStore();
    const two = await startLockApp({}, { useFactory: () => store }, [], { named: { useFactory: () => named } });
    await two.locks.acquire('k', { store: 'named' });
    await two.app.close();
    expect(two.codes).toEqual(['DRAIN_INCOMPLETE']);
    const free: LockStore = named.real;
    expect(await free.acquire({ ...OTHER, key: 'k', waitMs: 0 })).toMatchObject({ status: 'granted' });
  });
});
