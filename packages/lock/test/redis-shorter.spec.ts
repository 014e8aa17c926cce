import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { forgeWaiters, hold, listenAs, queued, wish } from './support/redis-wishes.js';

const server = useRedis();
let redis: OpenedRedis;
let rival: OpenedRedis;
beforeAll(async () => {
  redis = await openRedis(server.url, server.prefix);
  rival = await openRedis(server.url, server.prefix);
});
afterAll(async () => {
  await Promise.all([redis.app.close(), rival.app.close()]);
});

/** What `minHold` does when the work is done: the lease is left to end by itself, sooner than it was granted for. */
async function letEnd(key: string, token: string, ttlMs: number): Promise<void> {
  expect(await redis.store.extend([{ key, token, ttlMs }])).toMatchObject([{ status: 'extended' }]);
}

describe('a lease that is made shorter', () => {
  it.each([
    ['of one', {}],
    ['that is shared', { capacity: Number.POSITIVE_INFINITY }],
  ])('%s lets who waits have the lock when it ends', async (_, mode) => {
    const holder = await hold(redis.store, randomUUID(), mode);
    const waiter = await queued(rival, holder.key);
    const shortenedAt = monotonicMs();
    await letEnd(holder.key, holder.token, 300);
    await waiter.held;
    expect(monotonicMs() - shortenedAt).toBeGreaterThan(290);
    expect(monotonicMs() - shortenedAt).toBeLessThan(2_500);
  });

  it('is forgotten by this process when it has ended', async () => {
    for (let round = 0; round < 5; round += 1) {
      const holder = await hold(redis.store, randomUUID());
      const waiter = await queued(redis, holder.key);
      await redis.store.release([holder]);
      const { key, token } = await waiter.held;
      await letEnd(key, token, 1);
    }
    const echoes = Reflect.get(Reflect.get(redis.store, 'echoes') as object, 'echoes') as Map<string, unknown>;
    expect(echoes.size).toBeLessThan(3);
  });
});

describe('a barging waiter that hears and does nothing', () => {
  it('does not keep a free lock from the others', async () => {
    const holder = await hold(redis.store, randomUUID());
    const unsubscribe = await listenAs(redis.connection, 'stopped');
    await forgeWaiters(redis.connection, holder.key, [{ token: randomUUID(), process: 'stopped', manner: 'b' }]);
    const next = await queued(rival, holder.key, { fairness: 'barging' });
    const releasedAt = monotonicMs();
    await redis.store.release([holder]);
    await next.held;
    expect(monotonicMs() - releasedAt).toBeLessThan(4_000);
    await unsubscribe();
  });
});

describe('a store that is closed', () => {
  it('ends the wait of a request that was on its way, long before the wait is over', async () => {
    const proxy = await startFaultProxy({ target: server.url });
    const far = await openRedis(proxy.urlFor(server.url), server.prefix);
    const holder = await hold(redis.store, randomUUID());
    await far.connection.command('test', 'ping');
    proxy.delay(150);
    const startedAt = monotonicMs();
    const waiting = far.store.acquire(wish(holder.key, { waitMs: 20_000 }));
    await far.store.close();
    expect(await waiting).toMatchObject({ status: 'busy' });
    expect(monotonicMs() - startedAt).toBeLessThan(5_000);
    await far.app.close();
    await proxy.stop();
  });
});
