import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { monotonicMs } from '@lockstep/core';
import { eventually, type FaultProxy, type RedisServer, startFaultProxy, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { lockKey, ownerOf, storedLock } from './support/stored-lock.js';

const TIMEOUT_MS = 200;
let server: RedisServer;
let proxy: FaultProxy;
let direct: OpenedRedis;
let redis: OpenedRedis;

beforeAll(async () => {
  server = await startRedis();
  proxy = await startFaultProxy({ target: server.url });
});
beforeEach(async () => {
  direct = await openRedis(server.url, 'faults');
  redis = await openRedis(proxy.urlFor(server.url), 'faults', TIMEOUT_MS);
  await redis.connection.command('test', 'ping');
});
afterEach(async () => {
  server.resume();
  await proxy.heal();
  await Promise.all([redis.app.close(), direct.app.close()]);
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
});

function request(waitMs = 0, ttlMs = 30_000) {
  return { key: randomUUID(), token: randomUUID(), ttlMs, waitMs, capacity: 1, fairness: 'fifo' as const };
}

/** Lets the server's clock pass the moment after which the requests made so far are refused. */
async function passNotAfter(): Promise<void> {
  const until = monotonicMs() + TIMEOUT_MS * 4;
  await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
}

describe('a Redis that misbehaves', () => {
  it('that hangs is unavailable, never busy, and leaves no ghost lock when it comes back', async () => {
    const wish = request();
    server.pause();
    await expect(redis.store.acquire(wish)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'unknown' });
    server.resume();
    await eventually(async () => {
      expect(await direct.store.acquire({ ...wish, token: randomUUID() })).toMatchObject({ status: 'granted' });
    });
  });

  it('leaves no listener behind on a signal that outlives the failed request', async () => {
    const { signal } = new AbortController();
    server.pause();
    await expect(redis.store.acquire({ ...request(), signal })).rejects.toMatchObject({ outcome: 'unknown' });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('that gets a request late refuses it (H3)', async () => {
    const wish = request();
    proxy.blackhole({ direction: 'toServer' });
    await expect(redis.store.acquire(wish)).rejects.toMatchObject({ outcome: 'unknown' });
    await redis.store.close(); // no release may come to the rescue
    await passNotAfter();
    await proxy.heal();
    await eventually(() => redis.connection.command('test', 'ping'));
    expect(await storedLock(direct.connection, wish.key)).toBeUndefined();
  });

  it('whose answer is lost grants the same lock to the same request, once', async () => {
    const wish = request(5_000);
    proxy.dropAfter(0, 'toClient');
    const granted = redis.store.acquire(wish);
    await eventually(async () => expect(await ownerOf(direct.connection, wish.key)).toBe(wish.token));
    const fence = (await storedLock(direct.connection, wish.key))?.fence;
    await proxy.heal();
    expect(await granted).toMatchObject({ status: 'granted', fence: BigInt(fence ?? 0) });
  });

  it('that is down is unavailable within the command timeout, and usable again without a restart of ours', async () => {
    await server.kill();
    const startedAt = monotonicMs();
    await expect(redis.store.acquire(request(30_000))).rejects.toMatchObject({ kind: 'unavailable' });
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 5);
    await server.restart();
    await eventually(async () => expect(await redis.store.acquire(request())).toMatchObject({ status: 'granted' }));
  });

  it('that comes back empty tells the holder at its next extension, and its fences still rise', async () => {
    const wish = request();
    const holder = await redis.store.acquire(wish);
    await server.restart({ empty: true });
    await eventually(async () =>
      expect(await redis.store.extend([wish])).toEqual([{ status: 'lost', cause: 'stolen' }]),
    );
    const next = await redis.store.acquire({ ...wish, token: randomUUID() });
    expect(next.status === 'granted' && holder.status === 'granted' && next.fence > holder.fence).toBe(true);
  });

  it('that did not hear a release hears it again', async () => {
    const wish = { ...request(), deadline: monotonicMs() + 30_000 };
    await redis.store.acquire(wish);
    proxy.cut();
    proxy.refuse();
    expect(await redis.store.release([wish])).toMatchObject([{ status: 'failed' }]);
    await proxy.heal();
    await eventually(async () => expect(await ownerOf(direct.connection, wish.key)).toBeUndefined());
  });

  it('never lets a deadline lie later than the server keeps the lock', async () => {
    proxy.delay(30);
    for (let round = 0; round < 10; round += 1) {
      const wish = request(0, 5_000);
      const grant = await redis.store.acquire(wish);
      if (grant.status === 'busy') throw new Error('nobody else wants it');
      const pttl = Number(await direct.connection.command('test', 'pttl', lockKey(direct.connection, wish.key)));
      const retentionMs = 60_000;
      expect(grant.deadline - monotonicMs()).toBeLessThanOrEqual(pttl - retentionMs + 1);
    }
  });
});
