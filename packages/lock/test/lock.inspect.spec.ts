import 'reflect-metadata';
import { ConfigurationError, StoreUnavailableError } from '@lockstep/core';
import { LockKeyError, MemoryLockStore } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';

const TTL_MS = 600;
const unavailable = new StoreUnavailableError({ store: 'scripted', operation: 'lock', outcome: 'unknown' });

let store: ScriptedStore;
let here: LockApp;
/** Another application on the same store. */
let elsewhere: LockApp;

beforeEach(async () => {
  store = new ScriptedStore();
  here = await startLockApp({ ttl: TTL_MS, wait: 0 }, { useFactory: () => store });
  elsewhere = await startLockApp({ ttl: TTL_MS, wait: 0 }, { useFactory: () => store });
});
afterEach(async () => {
  await here.app.close();
  await elsewhere.app.close();
});

describe('inspect', () => {
  it('tells who holds a lock, for how long, its fence, and how many wait', async () => {
    const { token, fence } = await elsewhere.locks.acquire('k');
    const waiting = here.locks.acquire('k', { wait: '5s' });
    await eventually(async () => {
      const state = await here.locks.inspect('k');
      expect(state).toMatchObject({ holders: [{ token }], fence, waiters: 1 });
      expect(state.holders[0]?.remainingMs).toBeGreaterThan(0);
      expect(state.holders[0]?.remainingMs).toBeLessThanOrEqual(TTL_MS);
    });
    await elsewhere.locks.forceRelease('k');
    await waiting;
  });

  it('tells of every reader, and that a free lock is free', async () => {
    const readers = [
      await here.locks.acquire('k', { mode: 'read' }),
      await elsewhere.locks.acquire('k', { mode: 'read' }),
    ];
    const { holders } = await here.locks.inspect('k');
    expect(holders.map(({ token }) => token).sort()).toEqual(readers.map(({ token }) => token).sort());
    await Promise.all(readers.map((reader) => reader.release()));
    expect(await here.locks.inspect('k')).toMatchObject({ holders: [], waiters: 0 });
  });

  it('never calls a lock free because the store is down', async () => {
    store.onInspect = () => Promise.reject(unavailable);
    await expect(here.locks.inspect('k')).rejects.toBe(unavailable);
    await expect(here.locks.forceRelease('k')).rejects.toBe(unavailable);
  });

  it('refuses a key that no lock can have, and a store that is none of the module', async () => {
    await expect(here.locks.inspect('')).rejects.toThrow(LockKeyError);
    await expect(here.locks.forceRelease('a\nb')).rejects.toThrow(LockKeyError);
    await expect(here.locks.inspect('k', { store: 'zk' })).rejects.toThrow(ConfigurationError);
  });
});

describe('forceRelease', () => {
  it('takes the lock from a holder in this process, which learns so at once', async () => {
    const lease = await here.locks.acquire('k');
    const { signal } = lease;
    expect(await here.locks.forceRelease('k')).toBe(1);
    expect(signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'stolen' });
    expect(lease.isHeld()).toBe(false);
    const next = await elsewhere.locks.acquire('k');
    await lease.release();
    expect(next.isHeld()).toBe(true);
    await next.extend();
  });

  it('takes it from a holder in another process, which learns so at its next heartbeat', async () => {
    const { signal, deadline } = await elsewhere.locks.acquire('k');
    expect(await here.locks.forceRelease('k')).toBe(1);
    const next = await here.locks.acquire('k');
    await eventually(() => expect(signal.aborted).toBe(true), { intervalMs: 5 });
    expect(performance.now()).toBeLessThan(deadline);
    expect(signal.reason).toMatchObject({ loss: 'stolen' });
    expect(next.fence).toBeGreaterThan((signal.reason as { fence: bigint }).fence);
  });

  it('takes it from all who share it, and from nobody when it is free', async () => {
    const readers = await Promise.all([1, 2, 3].map(() => elsewhere.locks.acquire('k', { mode: 'read' })));
    expect(await here.locks.forceRelease('k')).toBe(3);
    expect(await here.locks.forceRelease('k')).toBe(0);
    for (const reader of readers) await expect(reader.extend()).rejects.toMatchObject({ loss: 'stolen' });
  });

  it('takes it from who had it when it looked, not from who got it meanwhile', async () => {
    const holder = await elsewhere.locks.acquire('k');
    store.onInspect = async (key) => {
      const state = await store.real.inspect(key);
      await holder.release();
      await elsewhere.locks.acquire(key);
      return state;
    };
    expect(await here.locks.forceRelease('k')).toBe(0);
    expect((await store.real.inspect('k')).holders).toHaveLength(1);
  });

  it('says so when the store does not answer', async () => {
    await elsewhere.locks.acquire('k');
    store.onRelease = () => Promise.reject(unavailable);
    await expect(here.locks.forceRelease('k')).rejects.toBe(unavailable);
  });

  it('works on a named store, and touches no lock of the others', async () => {
    const named = new MemoryLockStore();
    const app = await startLockApp({ wait: 0 }, undefined, [], { night: { useFactory: () => named } });
    const day = await app.locks.acquire('k');
    const night = await app.locks.acquire('k', { store: 'night' });
    expect((await app.locks.inspect('k', { store: 'night' })).holders).toMatchObject([{ token: night.token }]);
    expect(await app.locks.forceRelease('k', { store: 'night' })).toBe(1);
    expect([day.isHeld(), night.isHeld()]).toEqual([true, false]);
    await app.app.close();
  });
});
