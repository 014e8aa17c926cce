import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import type { Lease } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, type FaultProxy, type RedisServer, startFaultProxy, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { lockKey, ownerOf } from './support/stored-lock.js';
import { blockEventLoop, passed } from './support/time.js';

const TTL_MS = 1_500;
const TIMEOUT_MS = 200;
const NAMESPACE = 'lease';
let server: RedisServer;
let proxy: FaultProxy;
let direct: OpenedRedis;
let holder: LockApp;
let key: string;

beforeAll(async () => {
  server = await startRedis();
  proxy = await startFaultProxy({ target: server.url });
  direct = await openRedis(server.url, NAMESPACE);
});
beforeEach(async () => {
  key = randomUUID();
  const url = proxy.urlFor(server.url);
  const redis = RedisModule.forRoot({ url, namespace: NAMESPACE, commandTimeout: TIMEOUT_MS });
  holder = await startLockApp({ ttl: TTL_MS, wait: 0 }, redisLockStore(), [redis]);
  await (await holder.locks.acquire(randomUUID())).release();
});
afterEach(async () => {
  server.resume();
  await proxy.heal();
  await holder.app.close();
});
afterAll(async () => {
  await direct.app.close();
  await proxy.stop();
  await server.stop();
});

async function vanish(): Promise<void> {
  expect(await direct.connection.command('test', 'del', lockKey(direct.connection, key))).toBe(1);
}

/** When the holder was told. */
async function told({ signal }: Lease): Promise<number> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(monotonicMs()), { once: true }));
}

describe('a lease in Redis whose key vanishes', () => {
  it('is lost at its next heartbeat, and another may have the lock at once', async () => {
    const lease = await holder.locks.acquire(key);
    const { deadline } = lease;
    const lost = told(lease);
    await vanish();
    expect(await direct.store.acquire({ ...request(), token: randomUUID() })).toMatchObject({ status: 'granted' });
    const at = await lost;
    // The heartbeat is sent at a third of the lease.
    expect(at).toBeLessThan(deadline - TTL_MS / 3);
    expect(lease.isHeld()).toBe(false);
    expect(lease.signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'stolen' });
  });

  it('is lost at its deadline at the latest, though no heartbeat is answered', async () => {
    const lease = await holder.locks.acquire(key);
    const lost = told(lease);
    proxy.blackhole();
    await vanish();
    await lost;
    expect(lease.signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'backend' });
    expect(lease.isHeld()).toBe(false);
  });

  it('is not had again by its holder, whose release takes nothing from the next one', async () => {
    const lease = await holder.locks.acquire(key);
    await vanish();
    const next = { ...request(), token: randomUUID() };
    await direct.store.acquire(next);
    await lease.release();
    expect(await ownerOf(direct.connection, key)).toBe(next.token);
  });
});

describe('a lease in Redis beyond which the event loop is blocked', () => {
  it('is known to be lost at once, before any timer could run', async () => {
    const lease = await holder.locks.acquire(key);
    const { signal } = lease;
    blockEventLoop(TTL_MS + 50);
    expect(lease.isHeld()).toBe(false);
    expect(signal.aborted).toBe(true);
    expect(await direct.store.acquire({ ...request(), token: randomUUID() })).toMatchObject({ status: 'granted' });
  });
});

describe('a lock that is asked for while the server hangs', () => {
  it('fails with the command timeout, and is no ghost lock once its release has arrived', async () => {
    server.pause();
    await expect(holder.locks.acquire(key)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
    });
    await passed(TIMEOUT_MS);
    server.resume();
    // Well before the lease could have ended by itself.
    await eventually(async () => expect(await ownerOf(direct.connection, key)).toBeUndefined(), {
      timeoutMs: TTL_MS / 2,
    });
    const lease = await holder.locks.acquire(key);
    expect(lease.isHeld()).toBe(true);
    await lease.release();
  });
});

function request() {
  return { key, ttlMs: 30_000, waitMs: 0, capacity: 1, fairness: 'fifo' as const };
}
