import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { eventually, type RedisSentinel, startRedisSentinel } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedisStore, openRivalStores } from './support/redis-store.js';
import { hold, queued, queueOf, recordsOf, wish } from './support/redis-wishes.js';

let group: RedisSentinel;
let client: Redis;
beforeAll(async () => {
  group = await startRedisSentinel({ args: ['--repl-diskless-sync-delay', '0'] });
  client = new Redis({ sentinels: [...group.sentinels], name: group.name, lazyConnect: true });
}, 60_000);
afterAll(async () => {
  client?.disconnect();
  await group?.stop();
});

function open(): Promise<OpenedRedis> {
  return openRedisStore({ client, namespace: 'sentinel' });
}

describeLockStoreContract({
  name: 'redis behind sentinels',
  abilities: { expires: true, shares: 'any', queues: true },
  open: () => openRivalStores(open),
});

describe('a failover', () => {
  const PATIENCE = { timeoutMs: 30_000, intervalMs: 100 };

  it('keeps holders, fences and the order of those who wait', { timeout: 90_000 }, async () => {
    const redis = await open();
    const rival = await open();
    const holder = await hold(redis.store, randomUUID(), { ttlMs: 60_000 });
    const waiters = [
      await queued(redis, holder.key, { waitMs: 60_000 }),
      await queued(rival, holder.key, { waitMs: 60_000 }),
      await queued(redis, holder.key, { waitMs: 60_000 }),
    ];
    const tokens = waiters.map(({ token }) => token);
    const lapsed = await hold(redis.store, randomUUID(), { ttlMs: 500 });
    await redis.connection.command('test', 'wait', 1, 1_000);
    await group.failover();

    // The replica had it all: the heartbeat finds the lease, or the runtime would tell its holder of the loss.
    await eventually(
      async () => expect(await redis.store.extend([holder])).toMatchObject([{ status: 'extended' }]),
      PATIENCE,
    );
    const next = await eventually(() => hold(rival.store, lapsed.key), PATIENCE);
    expect(next.fence).toBeGreaterThan(lapsed.fence);
    await eventually(async () => expect(await queueOf(redis.connection, holder.key)).toEqual(tokens), PATIENCE);

    // Whoever is not back yet when the lock is released misses this turn, though not its place.
    for (const { process } of await recordsOf(redis.connection, holder.key)) {
      const channel = `sentinel:lock-push:${process}`;
      await eventually(async () => {
        expect(await redis.connection.command('test', 'pubsub', 'numsub', channel)).toEqual([channel, 1]);
      }, PATIENCE);
    }

    const served: string[] = [];
    let last = holder.fence;
    await Promise.all([
      redis.store.release([holder]),
      ...waiters.map(async ({ held }, index) => {
        const mine = await held;
        served.push(mine.token);
        expect(mine.fence).toBeGreaterThan(last);
        last = mine.fence;
        await (index === 1 ? rival : redis).store.release([mine]);
      }),
    ]);
    expect(served).toEqual(tokens);
    await Promise.all([redis.app.close(), rival.app.close()]);
  });

  it('that lost the grant tells its holder, and a waiter is answered within its wait', {
    timeout: 90_000,
  }, async () => {
    const redis = await open();
    for (const server of group.replicas) await server.restart();
    await group.replicated();
    const holder = await hold(redis.store, randomUUID());
    const waiter = await queued(redis, holder.key, { waitMs: 20_000 });
    await redis.connection.command('test', 'wait', 1, 1_000);
    const startedAt = monotonicMs();
    const elected = await group.failover();
    const admin = new Redis(elected.url);
    await admin.del(redis.connection.key('lock', holder.key));
    admin.disconnect();
    await eventually(
      async () => expect(await redis.store.extend([holder])).toEqual([{ status: 'lost', cause: 'stolen' }]),
      PATIENCE,
    );
    const answer = await waiter.held.catch((error: unknown) => error);
    expect(monotonicMs() - startedAt).toBeLessThan(30_000);
    expect(answer).toMatchObject({ fence: expect.any(BigInt) });
    expect(await redis.store.acquire(wish(randomUUID()))).toMatchObject({ status: 'granted' });
    await redis.app.close();
  });
});
