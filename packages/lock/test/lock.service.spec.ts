import 'reflect-metadata';
import { LockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import {
  type AcquireRequest,
  currentLease,
  type Lease,
  LockBusyError,
  LockKeyError,
  LockLostError,
  LockReentryError,
  LockShuttingDownError,
} from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';
import { blockEventLoop, passed } from './support/time.js';

const TTL_MS = 300;
const unavailable = new StoreUnavailableError({ store: 'scripted', operation: 'lock', outcome: 'unknown' });
const silent = async (): Promise<never> => new Promise(() => undefined);

let store: ScriptedStore;
let running: LockApp;

beforeEach(async () => {
  store = new ScriptedStore();
  running = await startLockApp({ ttl: TTL_MS, wait: '2s' }, { useFactory: () => store });
});
afterEach(() => running.app.close());

describe('an acquisition', () => {
  it.each([
    ['was lost', unavailable],
    ['made no sense', new LockstepError({ code: 'SCRIPT_FAILED', kind: 'unknown', message: 'not a lock' })],
  ])('whose answer %s did not happen for the caller, whatever the store has done of it', async (_, cause) => {
    store.onAcquire = () => Promise.reject(cause);
    let ran = false;
    const guarded = running.locks.using('k', {}, async () => {
      ran = true;
    });
    await expect(guarded).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied', cause });
    if (cause === unavailable) await expect(guarded).rejects.toThrow('scripted did not answer lock.acquire');
    expect(ran).toBe(false);
  });
});

describe('a lease', () => {
  it('is held beyond its length while the store answers', async () => {
    const lease = await running.locks.acquire('k');
    await passed(TTL_MS * 3);
    expect(lease.isHeld()).toBe(true);
    await lease.release();
  });

  it('of a store with sessions is extended at a third of what the store confirms, however short its ttl is', async () => {
    const sessionMs = 900;
    store.abilities = { ...store.abilities, expires: false };
    store.onAcquire = async () => ({ status: 'granted', fence: 1n, deadline: monotonicMs() + sessionMs });
    store.onExtend = async (requests) =>
      requests.map(() => ({ status: 'extended', deadline: monotonicMs() + sessionMs }));
    const grantedAt = monotonicMs();
    const lease = await running.locks.acquire('k', { ttl: 100 });
    expect(lease.deadline).toBeLessThan(grantedAt + sessionMs - 8); // a share of the session for clocks that differ
    await eventually(() => expect(store.extensions).toHaveLength(1), { intervalMs: 5 });
    expect(monotonicMs() - grantedAt).toBeLessThan(sessionMs / 2);
    store.onExtend = async (requests) => requests.map(() => ({ status: 'failed', error: unavailable }));
    await expect(lease.extend()).rejects.toBe(unavailable);
    const tries = store.extensions.length;
    await passed(200);
    expect(store.extensions.length - tries).toBeLessThan(7);
  });

  it('of which the store confirms a part only is extended sooner, and not without a pause', async () => {
    const lease = await running.locks.acquire('k', { ttl: '60s' });
    store.onExtend = async (requests) => requests.map(() => ({ status: 'extended', deadline: monotonicMs() + 900 }));
    await lease.extend();
    const before = store.extensions.length;
    await passed(1_500);
    expect(lease.isHeld()).toBe(true);
    expect(store.extensions.length - before).toBeLessThan(20);
    await lease.release();
  });

  it('is lost at its deadline when the store is silent, and its signal says so', async () => {
    store.onExtend = silent;
    const lease = await running.locks.acquire('k');
    await eventually(() => expect(lease.signal.aborted).toBe(true), { timeoutMs: TTL_MS * 4, intervalMs: 5 });
    expect(monotonicMs() - lease.deadline).toBeLessThan(TTL_MS);
    expect(lease.signal.reason).toMatchObject({ code: 'LOCK_LOST', kind: 'unknown', loss: 'backend' });
    expect(lease.isHeld()).toBe(false);
  });

  it('is extended again after a failure, until its deadline', async () => {
    let failures = 0;
    store.onExtend = async (requests) => {
      failures += 1;
      return failures <= 3
        ? requests.map(() => ({ status: 'failed', error: unavailable }))
        : store.real.extend(requests);
    };
    const lease = await running.locks.acquire('k');
    await passed(TTL_MS * 2);
    expect(lease.isHeld()).toBe(true);
    expect(failures).toBeGreaterThan(3);
    expect(running.codes).toContain('LOCK_NOT_EXTENDED');
    await lease.release();
  });

  it('is known to be lost right after the event loop was blocked, before any timer could run', async () => {
    const lease = await running.locks.acquire('k');
    const { signal } = lease;
    blockEventLoop(TTL_MS + 50);
    expect(lease.isHeld()).toBe(false);
    expect(signal.aborted).toBe(true);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(signal.reason).toMatchObject({ loss: 'expired' });
  });

  it('stays lost, whatever the store answers later', async () => {
    const lease = await running.locks.acquire('k');
    blockEventLoop(TTL_MS + 50);
    await expect(lease.extend()).rejects.toThrow(LockLostError);
    expect(lease.isHeld()).toBe(false);
  });

  it('is lost when its next heartbeat finds it stolen', async () => {
    store.onExtend = async (requests) => requests.map(() => ({ status: 'lost', cause: 'stolen' }));
    const lease = await running.locks.acquire('k');
    const { deadline, signal } = lease;
    await eventually(() => expect(signal.aborted).toBe(true), { intervalMs: 5 });
    expect(monotonicMs()).toBeLessThan(deadline);
    expect(signal.reason).toMatchObject({ loss: 'stolen' });
  });

  it('is lost at once when the store learns of it by itself', async () => {
    let tell: AcquireRequest['onLost'];
    store.onAcquire = (request) => {
      tell = request.onLost;
      return store.real.acquire(request);
    };
    const lease = await running.locks.acquire('k');
    tell?.('backend');
    expect(lease.isHeld()).toBe(false);
  });

  it('counts drift of the clocks against the holder', async () => {
    const before = monotonicMs();
    const lease = await running.locks.acquire('k', { ttl: '10s' });
    expect(lease.deadline - before).toBeLessThan(10_000 - 100);
    await lease.release();
  });

  it('that a pushed grant made short is extended at once', async () => {
    store.onAcquire = async (request) => {
      const grant = await store.real.acquire(request);
      return grant.status === 'granted' ? { ...grant, deadline: grant.deadline - TTL_MS / 2 } : grant;
    };
    const lease = await running.locks.acquire('k');
    const first = lease.deadline;
    await eventually(() => expect(lease.deadline).toBeGreaterThan(first), { timeoutMs: TTL_MS / 3, intervalMs: 2 });
    await lease.release();
  });

  it('is released at the end of an await using block', async () => {
    {
      await using lease = await running.locks.acquire('k');
      expect(lease.isHeld()).toBe(true);
    }
    expect(await running.locks.tryAcquire('k')).toBeDefined();
  });

  it('is no longer held after its release, and its signal does not fire', async () => {
    const lease = await running.locks.acquire('k');
    await lease.release();
    await lease.release();
    expect(lease.isHeld()).toBe(false);
    await passed(TTL_MS * 1.5);
    expect(lease.signal.aborted).toBe(false);
  });

  it('reports a failing release as an incident instead of rejecting', async () => {
    const lease = await running.locks.acquire('k');
    store.onRelease = async (requests) => requests.map(() => ({ status: 'failed', error: unavailable }));
    await lease.release();
    expect(running.codes).toEqual(['LOCK_NOT_RELEASED']);
  });

  it('hears nothing of an extension that was in flight when it was released', async () => {
    let answer: () => void = () => undefined;
    store.onExtend = (requests) =>
      new Promise((resolve) => {
        answer = () => resolve(requests.map(() => ({ status: 'lost', cause: 'stolen' })));
      });
    const lease = await running.locks.acquire('k');
    await eventually(() => expect(store.extensions).toHaveLength(1), { intervalMs: 5 });
    await lease.release();
    answer();
    await passed(20);
    expect(lease.signal.aborted).toBe(false);
  });
});

describe('the heartbeat', () => {
  it('extends leases of about the same time in one call', async () => {
    const leases: Lease[] = await Promise.all(['a', 'b', 'c', 'd'].map((key) => running.locks.acquire(key)));
    await eventually(() => expect(store.extensions.length).toBeGreaterThan(0), { intervalMs: 5 });
    expect(store.extensions[0]).toHaveLength(4);
    await Promise.all(leases.map((lease) => lease.release()));
  });

  it('sends nothing for leases that were released', async () => {
    await (await running.locks.acquire('k')).release();
    await passed(TTL_MS);
    expect(store.extensions).toEqual([]);
  });
});

describe('acquiring', () => {
  it('says that another holds the lock, and when to come back', async () => {
    const holder = await running.locks.acquire('k', { ttl: '5s' });
    const refused = await running.locks.acquire('k', { wait: 0 }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LockBusyError);
    expect(refused).toMatchObject({ code: 'LOCK_BUSY', kind: 'busy', key: 'k', retryable: true });
    expect((refused as LockBusyError).retryAfterMs).toBeGreaterThan(4_000);
    expect(await running.locks.tryAcquire('k')).toBeUndefined();
    await holder.release();
  });

  it('waits until the lock is free', async () => {
    const holder = await running.locks.acquire('k');
    const waiter = running.locks.acquire('k');
    await holder.release();
    expect((await waiter).fence).toBeGreaterThan(holder.fence);
  });

  it('never calls a store that is down a lock that is held', async () => {
    store.onAcquire = () => Promise.reject(unavailable);
    const refusal = { code: 'STORE_UNAVAILABLE', kind: 'unavailable', cause: unavailable };
    await expect(running.locks.acquire('k')).rejects.toMatchObject(refusal);
    await expect(running.locks.tryAcquire('k')).rejects.toMatchObject(refusal);
  });

  it('does not take a grant that arrives after its own end', async () => {
    store.onAcquire = async (request) => {
      const grant = await store.real.acquire(request);
      return grant.status === 'granted' ? { ...grant, deadline: monotonicMs() - 1 } : grant;
    };
    await expect(running.locks.acquire('k', { wait: 0 })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    store.onAcquire = (request) => store.real.acquire(request);
    expect(await running.locks.tryAcquire('k')).toBeDefined();
  });

  it.each([
    ['an empty key', ''],
    ['a key of 513 characters', 'x'.repeat(513)],
    ['a control character', 'a\nb'],
    ['a number', 42 as unknown as string],
  ])('refuses %s before anything is sent', async (_, key) => {
    let isAsked = false;
    store.onAcquire = async () => {
      isAsked = true;
      return { status: 'busy', remainingMs: 0 };
    };
    await expect(running.locks.acquire(key)).rejects.toThrow(LockKeyError);
    expect(isAsked).toBe(false);
  });

  it('refuses a wrong option of a call, naming it', async () => {
    await expect(running.locks.acquire('k', { ttl: 1 })).rejects.toThrow("Option 'ttl' is 1");
  });
});

describe('using', () => {
  it('shows the lease to the code it guards, and to no other', async () => {
    await running.locks.using('k', {}, async (lease) => {
      expect(currentLease()).toBe(lease);
      await running.locks.using('other', {}, async (inner) => expect(currentLease()).toBe(inner));
      expect(currentLease()).toBe(lease);
    });
    expect(currentLease()).toBeUndefined();
  });

  it('passes an error of the work through as it is, and releases', async () => {
    const error = new Error('out of stock');
    await expect(running.locks.using('k', {}, () => Promise.reject(error))).rejects.toBe(error);
    expect(await running.locks.tryAcquire('k')).toBeDefined();
  });

  it('tells that the lock was lost while the work succeeded, with its result', async () => {
    const work = running.locks.using('k', {}, async () => {
      blockEventLoop(TTL_MS + 50);
      return 'charged';
    });
    await expect(work).rejects.toMatchObject({ code: 'LOCK_LOST', kind: 'unknown', result: 'charged' });
  });

  it('tells of a loss that only the release found out', async () => {
    const work = running.locks.using('k', {}, async (lease) => {
      await store.real.release([lease]);
      return 'charged';
    });
    await expect(work).rejects.toMatchObject({ code: 'LOCK_LOST', loss: 'stolen', result: 'charged' });
  });

  it('keeps the error of the work when the lock was lost too', async () => {
    const error = new Error('out of stock');
    const work = running.locks.using('k', {}, async () => {
      blockEventLoop(TTL_MS + 50);
      throw error;
    });
    await expect(work).rejects.toBe(error);
  });

  it('keeps the result of the work when the release fails', async () => {
    store.onRelease = async (requests) => requests.map(() => ({ status: 'failed', error: unavailable }));
    expect(await running.locks.using('k', {}, async () => 42)).toBe(42);
    expect(running.codes).toEqual(['LOCK_NOT_RELEASED']);
  });

  it('refuses at once to wait for itself where the inner call is not re-entrant', async () => {
    const work = running.locks.using('k', {}, () => running.locks.using('k', { reentrant: false }, async () => 1));
    await expect(work).rejects.toThrow(LockReentryError);
  });

  it('lets work that outlived its lock take it anew', async () => {
    let later: Promise<unknown> = Promise.resolve();
    await running.locks.using('k', {}, async () => {
      later = passed(20).then(() => running.locks.using('k', {}, async () => 'again'));
    });
    expect(await later).toBe('again');
  });
});

describe('a shutdown', () => {
  it('gives held locks back and tells their holders', async () => {
    const lease = await running.locks.acquire('k');
    const { signal } = lease;
    await running.app.close();
    expect(signal.reason).toMatchObject({ loss: 'shutdown' });
    const successor = { key: 'k', token: 'next', ttlMs: 1_000, waitMs: 0, capacity: 1, fairness: 'fifo' as const };
    expect(await store.real.acquire(successor)).toMatchObject({ status: 'granted' });
  });

  it('ends the waiting, and grants nothing any more', async () => {
    await store.real.acquire({
      key: 'k',
      token: 'another process',
      ttlMs: 60_000,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo',
    });
    const waiter = running.locks.acquire('k', { wait: '60s' });
    const outcome = expect(waiter).rejects.toThrow(LockShuttingDownError);
    await running.app.close();
    await outcome;
    await expect(running.locks.acquire('free')).rejects.toThrow(LockShuttingDownError);
  });
});

describe('wrong options', () => {
  it.each([
    [{ ttl: 5 }, 'ttl'],
    [{ ttl: 'soon' as never }, 'ttl'],
    [{ wait: -1 }, 'wait'],
  ])('%j fail at boot, naming the option', async (options, option) => {
    await expect(startLockApp(options)).rejects.toThrow(`Option '${option}'`);
  });
});
