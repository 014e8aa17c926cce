import { MemoryLockStore } from '@lockstep/lock';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { describe, expect, it } from 'vitest';

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
});
