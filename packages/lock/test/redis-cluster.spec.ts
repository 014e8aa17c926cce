import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLockApp } from './support/lock-app.js';
import { type OpenedRedis, openRedisStore, openRivalStores } from './support/redis-store.js';
import { forgeWaiters, hold, queued, wish } from './support/redis-wishes.js';

let cluster: RedisCluster;
let client: Cluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
  client = new Cluster([...cluster.urls]);
}, 60_000);
afterAll(async () => {
  client?.disconnect();
  await cluster?.stop();
});

function open(): Promise<OpenedRedis> {
  return openRedisStore({ client, namespace: 'cluster' });
}

describeLockStoreContract({
  name: 'redis cluster',
  abilities: { expires: true, shares: 'any', queues: true },
  open: () => openRivalStores(open),
});

describe('locks on a Cluster', () => {
  let redis: OpenedRedis;
  let rival: OpenedRedis;
  beforeAll(async () => {
    redis = await open();
    rival = await open();
  });
  afterAll(() => Promise.all([redis.app.close(), rival.app.close()]));

  it('reach a waiter whose pushes come by another master, whichever holds the lock (H2)', async () => {
    for (let round = 0; round < 12; round += 1) {
      const holder = await hold(redis.store, randomUUID());
      const waiter = await queued(rival, holder.key);
      const releasedAt = monotonicMs();
      await redis.store.release([holder]);
      expect((await waiter.held).fence).toBeGreaterThan(holder.fence);
      expect(monotonicMs() - releasedAt).toBeLessThan(1_500);
    }
  });

  it('stand still once for all waiters of a process that was killed (H4e)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const dead = Array.from({ length: 50 }, () => ({ token: randomUUID(), process: 'killed' }));
    await forgeWaiters(redis.connection, holder.key, dead);
    const live = await queued(rival, holder.key);
    const releasedAt = monotonicMs();
    await redis.store.release([holder]);
    await live.held;
    expect(monotonicMs() - releasedAt).toBeLessThan(4_000);
  });

  it('fail alone when one of a batch meets a key of another kind, in any slot (H4a)', async () => {
    const keys = Array.from({ length: 9 }, () => randomUUID());
    await redis.connection.command('test', 'lpush', redis.connection.key('lock', keys[4] ?? ''), 'x');
    const outcomes = await Promise.allSettled(keys.map((key) => redis.store.acquire(wish(key))));
    expect(outcomes.map(({ status }) => status)).toEqual(
      keys.map((_, index) => (index === 4 ? 'rejected' : 'fulfilled')),
    );
  });

  it('of several keys are taken one by one, in their order, where they lie in different slots (H5)', async () => {
    const module = RedisModule.forRoot({ client, namespace: 'cluster' });
    const { app, locks } = await startLockApp({ ttl: '10s', wait: '10s' }, redisLockStore(), [module]);
    const [first = '', second = '', third = ''] = Array.from({ length: 3 }, () => randomUUID()).sort();
    const holder = await hold(redis.store, second);
    const set = locks.acquireAll([third, second, first]);
    await eventually(async () => expect((await redis.store.inspect(second)).waiters).toBe(1));
    expect((await redis.store.inspect(first)).holders).toHaveLength(1);
    expect((await redis.store.inspect(third)).holders).toHaveLength(0);
    await redis.store.release([holder]);
    const held = await set;
    expect(held.isHeld()).toBe(true);
    await held.release();
    await app.close();
  });
});
