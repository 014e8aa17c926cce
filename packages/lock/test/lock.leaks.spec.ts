import 'reflect-metadata';
import { MemoryLockStore } from '@lockstep/lock';
import { describe, expect, it } from 'vitest';
import { startLockApp } from './support/lock-app.js';

const KEYS = 100_000;
const AT_ONCE = 100;

describe('a process that has locked 100 000 distinct keys', () => {
  it('remembers none of them, in the store nor for the heartbeat', async () => {
    const store = new MemoryLockStore();
    const { app, locks } = await startLockApp({ ttl: '1m' }, { useFactory: () => store });
    for (let from = 0; from < KEYS; from += AT_ONCE) {
      const keys = Array.from({ length: AT_ONCE }, (_, n) => `k${from + n}`);
      const leases = await Promise.all(keys.map((key) => locks.acquire(key)));
      await Promise.all(leases.map((lease) => lease.release()));
    }
    expect(Reflect.get(store, 'locks').size).toBe(0);
    expect(Reflect.get(locks, 'standard').leases.heartbeat.held).toEqual([]);
    await app.close();
  });
});
