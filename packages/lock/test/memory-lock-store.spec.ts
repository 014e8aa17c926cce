import { MemoryLockStore } from '@lockstep/lock';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { describe, expect, it, vi } from 'vitest';

describeLockStoreContract({
  name: 'memory',
  abilities: { expires: true, shares: 'any', queues: true },
  async open() {
    const store = new MemoryLockStore();
    return { store, rival: store };
  },
});

describe('MemoryLockStore', () => {
  it('remembers nothing of locks that are free', async () => {
    const store = new MemoryLockStore();
    for (let n = 0; n < 1_000; n += 1) {
      await store.acquire({ key: `k${n}`, token: 't', ttlMs: 1_000, waitMs: 0, capacity: 1, fairness: 'fifo' });
      await store.release([{ key: `k${n}`, token: 't', deadline: 0 }]);
    }
    expect(Reflect.get(store, 'locks').size).toBe(0);
  });

  it('remembers no lock for ever that nobody gives back, while others are taken', async () => {
    const store = new MemoryLockStore();
    const take = (key: string, ttlMs: number) =>
      store.acquire({ key, token: 't', ttlMs, waitMs: 0, capacity: 1, fairness: 'fifo' });
    for (let n = 0; n < 1_000; n += 1) await take(`left:${n}`, 1);
    await take('held', 60_000);
    const until = performance.now() + 2;
    await vi.waitFor(() => expect(performance.now()).toBeGreaterThan(until), { interval: 1 });
    for (let n = 0; n < 1_000; n += 1) {
      await take(`k${n}`, 1_000);
      await store.release([{ key: `k${n}`, token: 't', deadline: 0 }]);
    }
    expect([...Reflect.get(store, 'locks').keys()]).toEqual(['held']);
  });

  it('serves who waits for a lease that was made shorter as soon as it ends', async () => {
    const store = new MemoryLockStore();
    const holder = { key: 'k', token: 'holder', ttlMs: 60_000, waitMs: 0, capacity: 1, fairness: 'fifo' } as const;
    await store.acquire(holder);
    const waiter = store.acquire({ ...holder, token: 'waiter', waitMs: 10_000 });
    const shortenedAt = performance.now();
    await store.extend([{ ...holder, ttlMs: 50 }]);
    expect(await waiter).toMatchObject({ status: 'granted' });
    expect(performance.now() - shortenedAt).toBeGreaterThanOrEqual(49);
    expect(performance.now() - shortenedAt).toBeLessThan(2_000);
  });

  it('grants nothing of what others leave when it is closed', async () => {
    const store = new MemoryLockStore();
    const reader = {
      key: 'k',
      ttlMs: 60_000,
      waitMs: 60_000,
      capacity: Number.POSITIVE_INFINITY,
      fairness: 'fifo',
    } as const;
    await store.acquire({ ...reader, token: 'reader' });
    const writer = store.acquire({ ...reader, token: 'writer', capacity: 1 });
    const behind = store.acquire({ ...reader, token: 'behind' });
    await store.close();
    expect([(await writer).status, (await behind).status]).toEqual(['busy', 'busy']);
  });
});
