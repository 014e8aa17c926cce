import 'reflect-metadata';
import { type AcquireRequest, LockBusyError, LockModeError } from '@lockstep/lock';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ScriptedStore } from './support/scripted-store.js';

let store: ScriptedStore;
let running: LockApp;

beforeEach(async () => {
  store = new ScriptedStore();
  running = await startLockApp({ ttl: '5s', wait: 0 }, { useFactory: () => store });
});
afterEach(() => running.app.close());

describe('the mode of a lock', () => {
  it.each(['exclusive', 'write', { permits: 1 }] as const)('%j lets nobody in beside the holder', async (mode) => {
    await running.locks.acquire('k', { mode });
    for (const other of ['exclusive', 'write', 'read', { permits: 5 }] as const) {
      await expect(running.locks.acquire('k', { mode: other })).rejects.toThrow(LockBusyError);
    }
  });

  it('lets readers in together and no writer beside them', async () => {
    const readers = [
      await running.locks.acquire('k', { mode: 'read' }),
      await running.locks.acquire('k', { mode: 'read' }),
    ];
    expect(await running.locks.tryAcquire('k', { mode: 'write' })).toBeUndefined();
    await Promise.all(readers.map((reader) => reader.release()));
    const writer = await running.locks.acquire('k', { mode: 'write' });
    expect(writer.fence).toBeGreaterThan(Math.max(...readers.map(({ fence }) => Number(fence))));
  });

  it('lets no reader pass a writer that waits', async () => {
    const reader = await running.locks.acquire('k', { mode: 'read' });
    const writer = running.locks.acquire('k', { mode: 'write', wait: '5s' });
    expect(await running.locks.tryAcquire('k', { mode: 'read' })).toBeUndefined();
    await reader.release();
    expect((await writer).isHeld()).toBe(true);
  });

  it('gives out as many permits as there are, and the next when one comes back', async () => {
    const permits = { mode: { permits: 3 } } as const;
    const held = await Promise.all([1, 2, 3].map(() => running.locks.acquire('k', permits)));
    expect(await running.locks.tryAcquire('k', permits)).toBeUndefined();
    const next = running.locks.acquire('k', { ...permits, wait: '5s' });
    await held[1]?.release();
    expect((await next).isHeld()).toBe(true);
    expect(await running.locks.tryAcquire('k', permits)).toBeUndefined();
  });

  it.each([
    ['none', 'read', 'read'],
    ['none', { permits: 2 }, 'one of 2 permits'],
    ['readers', { permits: 2 }, 'one of 2 permits'],
  ] as const)('is refused before anything is sent where the store shares %s: %j', async (shares, mode, name) => {
    store.abilities = { ...store.abilities, shares };
    store.onAcquire = () => Promise.reject(new Error('it was asked'));
    const refused = await running.locks.acquire('k', { mode }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LockModeError);
    expect((refused as Error).message).toContain(`asked for as ${name}, which the scripted store cannot grant`);
    await expect(running.locks.acquireAll(['a', 'b'], { mode })).rejects.toThrow(LockModeError);
  });

  it('lets a barging call overtake those who wait, and a fair one not', async () => {
    const holder = await running.locks.acquire('k', { mode: 'read' });
    const writer = running.locks.acquire('k', { mode: 'write', wait: '5s' });
    expect(await running.locks.tryAcquire('k', { mode: 'read', fairness: 'fifo' })).toBeUndefined();
    const barger = await running.locks.acquire('k', { mode: 'read', fairness: 'barging' });
    await holder.release();
    await barger.release();
    await writer;
  });

  it('reaches the store as its own facts, so that a store may copy the request', async () => {
    let copy: Partial<AcquireRequest> = {};
    store.onAcquire = (request) => {
      copy = { ...request };
      return store.real.acquire(request);
    };
    await running.locks.acquire('k', { mode: { permits: 2 }, fairness: 'barging' });
    expect(copy).toMatchObject({ key: 'k', ttlMs: 5_000, waitMs: 0, capacity: 2, fairness: 'barging' });
  });
});
