import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import { LockBusyError, LockKeyError, LockReentryError, LockShuttingDownError } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';
import { blockEventLoop } from './support/time.js';

const unavailable = new StoreUnavailableError({ store: 'scripted', operation: 'lock', outcome: 'unknown' });

let store: ScriptedStore;
let running: LockApp;
let asked: string[];

beforeEach(async () => {
  store = new ScriptedStore();
  asked = [];
  store.onAcquire = (request) => {
    asked.push(request.key);
    return store.real.acquire(request);
  };
  running = await startLockApp({ ttl: '5s', wait: '5s' }, { useFactory: () => store });
});
afterEach(() => running.app.close());

function inOneStep(): string[][] {
  const steps: string[][] = [];
  store.acquirePrefix = (requests) => {
    steps.push(requests.map(({ key }) => key));
    return store.real.acquirePrefix(requests);
  };
  return steps;
}

async function holders(...keys: string[]): Promise<number[]> {
  return Promise.all(keys.map(async (key) => (await store.real.inspect(key)).holders.length));
}

describe.each(['one by one', 'in one step'])('several locks %s', (way) => {
  let steps: string[][] = [];
  beforeEach(() => {
    steps = way === 'in one step' ? inOneStep() : [];
  });

  it('are taken in one order, each once, whatever order they are named in', async () => {
    await using set = await running.locks.acquireAll(['c', 'a', 'b', 'a']);
    expect(set.keys).toEqual(['a', 'b', 'c']);
    if (way === 'in one step') expect([steps, asked]).toEqual([[['a', 'b', 'c']], []]);
    else expect(asked).toEqual(['a', 'b', 'c']);
    expect(set.leases.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect(set.of('b').fence).toBe(set.leases[1]?.fence);
    expect(() => set.of('d')).toThrow(LockKeyError);
    expect(set.isHeld()).toBe(true);
    expect(set.deadline).toBe(Math.min(...set.leases.map(({ deadline }) => deadline)));
    await set.extend();
  });

  it('are all given back when one of them stays busy, which is named', async () => {
    await running.locks.acquire('b');
    const refused = await running.locks.acquireAll(['a', 'b', 'c'], { wait: 30 }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LockBusyError);
    expect(refused).toMatchObject({ key: 'b' });
    expect((refused as LockBusyError).retryAfterMs).toBeGreaterThan(3_000);
    expect(await holders('a', 'b', 'c')).toEqual([0, 1, 0]);
  });

  it('are asked for once without a wait', async () => {
    await running.locks.acquire('b');
    asked.length = 0;
    await expect(running.locks.acquireAll(['a', 'b', 'c'], { wait: 0 })).rejects.toMatchObject({ key: 'b' });
    expect(asked).toEqual(way === 'in one step' ? [] : ['a', 'b']);
    expect(await holders('a', 'b', 'c')).toEqual([0, 1, 0]);
  });

  it('do not keep their minHold when nothing was done under them', async () => {
    await running.locks.acquire('b');
    await expect(running.locks.acquireAll(['a', 'b'], { wait: 0, minHold: '1m' })).rejects.toThrow(LockBusyError);
    expect(await holders('a')).toEqual([0]);
  });

  it('are had when the busy one becomes free', async () => {
    const holder = await running.locks.acquire('b');
    const all = running.locks.acquireAll(['a', 'b', 'c']);
    await eventually(async () => expect((await store.real.inspect('b')).waiters).toBe(1), { intervalMs: 2 });
    await holder.release();
    expect((await all).isHeld()).toBe(true);
  });

  it('are all given back when the store fails midway', async () => {
    await running.locks.acquire('b');
    store.onAcquire = (request) => (request.key === 'b' ? Promise.reject(unavailable) : store.real.acquire(request));
    await expect(running.locks.acquireAll(['a', 'b', 'c'])).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(await holders('a', 'c')).toEqual([0, 0]);
  });

  it('are all given back when the caller gives up, also at the last moment', async () => {
    const holder = await running.locks.acquire('b');
    const controller = new AbortController();
    const all = running.locks.acquireAll(['a', 'b'], { signal: controller.signal });
    await eventually(async () => expect((await store.real.inspect('b')).waiters).toBe(1), { intervalMs: 2 });
    const reason = new Error('the client left');
    void holder.release();
    controller.abort(reason);
    await expect(all).rejects.toBe(reason);
    await eventually(async () => expect(await holders('a', 'b')).toEqual([0, 0]), { intervalMs: 2 });
  });

  it('are taken from the start when the first was lost while waiting for another', async () => {
    const holder = await running.locks.acquire('b');
    const all = running.locks.acquireAll(['a', 'b']);
    await eventually(async () => expect((await store.real.inspect('b')).waiters).toBe(1), { intervalMs: 2 });
    expect(await running.locks.forceRelease('a')).toBe(1);
    await holder.release();
    const set = await all;
    expect(set.isHeld()).toBe(true);
    expect(await holders('a', 'b')).toEqual([1, 1]);
  });

  it('are refused at shutdown, and what was taken is given back', async () => {
    await running.locks.acquire('b');
    const all = running.locks.acquireAll(['a', 'b']);
    await eventually(async () => expect((await store.real.inspect('b')).waiters).toBe(1), { intervalMs: 2 });
    const refused = expect(all).rejects.toThrow(LockShuttingDownError);
    await running.app.close();
    await refused;
    expect(await holders('a', 'b')).toEqual([0, 0]);
  });

  it('include those that the caller holds already, which stay with it', async () => {
    await running.locks.using('b', {}, async (outer) => {
      asked.length = 0;
      await running.locks.using(['a', 'b', 'c'], {}, async (set) => {
        expect(set.of('b').fence).toBe(outer.fence);
        expect([...asked, ...steps.flat()].sort()).toEqual(['a', 'c']);
      });
      expect(await holders('a', 'b', 'c')).toEqual([0, 1, 0]);
      expect(outer.isHeld()).toBe(true);
    });
  });

  it('are refused before anything is sent when one of them cannot be had once more', async () => {
    const work = running.locks.using('m', {}, () =>
      running.locks.using('z', { mode: 'read' }, async () => {
        asked.length = 0;
        await running.locks.acquireAll(['a', 'm', 'z']);
      }),
    );
    await expect(work).rejects.toThrow(LockReentryError);
    expect([asked, steps]).toEqual([[], []]);
  });

  it('limit their hold from when all are held, not from the first grant', async () => {
    const holder = await running.locks.acquire('b');
    const lost: string[] = [];
    running.locks.subscribe(({ type, key }) => type === 'lost' && lost.push(key));
    const all = running.locks.acquireAll(['a', 'b'], { maxHold: 150 });
    const startedAt = performance.now();
    await eventually(() => expect(performance.now() - startedAt).toBeGreaterThan(200), { intervalMs: 5 });
    await holder.release();
    const set = await all;
    expect([set.isHeld(), lost]).toEqual([true, []]);
    const { signal } = set;
    await eventually(() => expect(signal.aborted).toBe(true), { intervalMs: 5, timeoutMs: 1_000 });
    expect(signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'max-hold' });
    await eventually(async () => expect(await holders('a', 'b')).toEqual([0, 0]), { intervalMs: 5 });
  });
});

describe('a set of leases', () => {
  it('is lost with the first of them, by its signal and by the clock', async () => {
    const set = await running.locks.acquireAll(['a', 'b']);
    const { signal } = set;
    await store.real.release([set.of('b')]);
    await expect(set.of('b').extend()).rejects.toMatchObject({ loss: 'stolen' });
    expect(signal.reason).toMatchObject({ code: 'LOCK_LOST', key: 'b', loss: 'stolen' });
    expect(set.isHeld()).toBe(false);
    expect(() => set.assertHeld()).toThrow("Lock 'b' was lost");
    await set.release();
    expect(await holders('a')).toEqual([0]);
  });

  it('is known to be lost right after the event loop was blocked, before any timer could run', async () => {
    const set = await running.locks.acquireAll(['a', 'b'], { ttl: 100 });
    const { signal } = set;
    blockEventLoop(130);
    expect(set.isHeld()).toBe(false);
    expect(signal.aborted).toBe(true);
  });

  it('tells what the work returned when one of its locks was lost', async () => {
    const work = running.locks.using(['a', 'b'], {}, async (set) => {
      await store.real.release([set.of('b')]);
      return 'moved';
    });
    await expect(work).rejects.toMatchObject({ code: 'LOCK_LOST', key: 'b', result: 'moved' });
  });

  it.each([
    ['none', []],
    ['65', Array.from({ length: 65 }, (_, n) => `k${n}`)],
    ['a symbol', [Symbol('k')]],
    ['an empty key', ['a', '']],
    ['no list', 42],
  ])('cannot be made of %s, and nothing is sent', async (_, keys) => {
    await expect(running.locks.acquireAll(keys as string[])).rejects.toThrow(LockKeyError);
    expect(asked).toEqual([]);
  });

  it('is not had of grants that arrived after their end', async () => {
    store.acquirePrefix = async (requests) => {
      const outcomes = await store.real.acquirePrefix(requests);
      return outcomes.map((outcome) => (outcome.status === 'granted' ? { ...outcome, deadline: 0 } : outcome));
    };
    await expect(running.locks.acquireAll(['a', 'b'])).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
    });
    expect(await holders('a', 'b')).toEqual([0, 0]);
  });

  it('is taken one by one where the keys cannot be had in one step', async () => {
    store.acquirePrefix = async () => undefined;
    await running.locks.acquireAll(['b', 'a']);
    expect(asked).toEqual(['a', 'b']);
  });
});
