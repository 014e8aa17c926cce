import { MemoryLockStore } from '@lockstep/lock';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { describe, expect, it } from 'vitest';

describeLockStoreContract({
  name: 'memory',
  async open() {
    const store = new MemoryLockStore();
    return { store, rival: store };
  },
});

describe('MemoryLockStore', () => {
  it('serves waiters in the order of their coming', async () => {
    const store = new MemoryLockStore();
    const request = (token: string) => ({ key: 'k', token, ttlMs: 5_000, waitMs: 5_000 });
    await store.acquire(request('0'));
    const order: string[] = [];
    const waiters = ['1', '2', '3'].map(async (token) => {
      await store.acquire(request(token));
      order.push(token);
      await store.release([{ key: 'k', token, deadline: 0 }]);
    });
    await store.release([{ key: 'k', token: '0', deadline: 0 }]);
    await Promise.all(waiters);
    expect(order).toEqual(['1', '2', '3']);
  });

  it('remembers nothing of locks that are free', async () => {
    const store = new MemoryLockStore();
    for (let n = 0; n < 1_000; n += 1) {
      await store.acquire({ key: `k${n}`, token: 't', ttlMs: 1_000, waitMs: 0 });
      await store.release([{ key: `k${n}`, token: 't', deadline: 0 }]);
    }
    expect(Reflect.get(store, 'locks').size).toBe(0);
  });
});
