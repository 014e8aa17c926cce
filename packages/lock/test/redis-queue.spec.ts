import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { eventually, type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { forgeWaiters, hold, listenAs, queued, queueOf, wish } from './support/redis-wishes.js';
import { endLease, lockKey, ownerOf } from './support/stored-lock.js';
import { passed } from './support/time.js';

// A server of its own: what is counted here must come from here.
let server: RedisServer;
let redis: OpenedRedis;
let rival: OpenedRedis;
beforeAll(async () => {
  server = await startRedis();
  redis = await openRedis(server.url, 'queue');
  rival = await openRedis(server.url, 'queue');
});
afterAll(async () => {
  await Promise.all([redis.app.close(), rival.app.close()]);
  await server.stop();
});

function dead(count: number): Array<{ token: string; process: string }> {
  return Array.from({ length: count }, () => ({ token: randomUUID(), process: 'killed' }));
}

describe('the queue of a lock', () => {
  it('of dead waiters does not keep the lock from who asks once its holder has expired (H1c)', async () => {
    const { key } = await hold(redis.store, randomUUID());
    await forgeWaiters(redis.connection, key, dead(3));
    await endLease(redis.connection, key);
    expect(await redis.store.acquire(wish(key))).toMatchObject({ status: 'granted' });
    expect(await queueOf(redis.connection, key)).toEqual([]);
  });

  it('of dead waiters does not stand between a release and a waiter that lives', async () => {
    const holder = await hold(redis.store, randomUUID());
    await forgeWaiters(redis.connection, holder.key, dead(3));
    const live = await queued(rival, holder.key);
    await redis.store.release([holder]);
    expect((await live.held).fence).toBeGreaterThan(holder.fence);
  });

  it('of 200 waiters of a killed process costs one question, however many locks are released (H4e)', async () => {
    const held = await Promise.all([1, 2, 3].map(() => hold(redis.store, randomUUID())));
    for (const { key } of held) await forgeWaiters(redis.connection, key, dead(200));
    const inScripts = await redisCommandCounter(server.url, { clients: ['lua'] });
    await redis.connection.command('test', 'config', 'resetstat');
    await redis.store.release(held);
    const { PUBLISH = 0, PUBSUB = 0 } = await inScripts.counts();
    inScripts.stop();
    expect(PUBLISH + PUBSUB).toBeLessThanOrEqual(2);
    const stats = String(await redis.connection.command('test', 'info', 'commandstats'));
    const usec = Number(/cmdstat_evalsha:calls=\d+,usec=(\d+)/.exec(stats)?.[1]);
    expect(usec).toBeLessThan(100_000);
    for (const { key } of held) expect(await ownerOf(redis.connection, key)).toBeUndefined();
  });

  it('lies in the key of the lock alone, which never is without a TTL (H1d)', async () => {
    const own = await openRedis(server.url, `alone-${randomUUID()}`);
    const key = randomUUID();
    const onlyTheLock = async (): Promise<void> => {
      const keys = await own.connection.command('test', 'keys', `${own.connection.namespace}:*`);
      expect(keys).toEqual([lockKey(own.connection, key)]);
      expect(Number(await own.connection.command('test', 'pttl', lockKey(own.connection, key)))).toBeGreaterThan(0);
    };
    const holder = await hold(own.store, key);
    await onlyTheLock();
    const waiter = await queued(own, key);
    const other = await queued(own, key, { capacity: Number.POSITIVE_INFINITY });
    await onlyTheLock();
    await own.store.extend([holder]);
    await onlyTheLock();
    await own.store.release([holder]);
    await onlyTheLock();
    await own.store.release([await waiter.held]);
    await onlyTheLock();
    await own.store.release([await other.held]);
    await onlyTheLock();
    await own.app.close();
  });

  it('is left by a waiter whose wait is over', async () => {
    const { key } = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, key, { waitMs: 200 });
    await expect(waiter.held).rejects.toThrow('busy');
    await eventually(async () => expect(await queueOf(redis.connection, key)).toEqual([]));
  });

  it('is left by a waiter whose signal aborts', async () => {
    const { key } = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, key);
    waiter.abort();
    await expect(waiter.held).rejects.toThrow('left');
    await eventually(async () => expect(await queueOf(redis.connection, key)).toEqual([]));
  });

  it('does not make a waiter wait for a leaver that was told when to look (H1a)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const unsubscribe = await listenAs(redis.connection, 'stopped');
    await forgeWaiters(redis.connection, holder.key, [{ token: randomUUID(), process: 'stopped' }]);
    const told = await queued(rival, holder.key);
    const next = await queued(rival, holder.key);
    await redis.store.release([holder]);
    const releasedAt = monotonicMs();
    told.abort();
    await next.held;
    expect(monotonicMs() - releasedAt).toBeLessThan(4_000);
    await unsubscribe();
  });

  it('of twenty waiters costs at most two commands for each', async () => {
    (await queued(rival, (await hold(redis.store, randomUUID())).key)).abort(); // its channel is open from here on
    const { key, ...holder } = await hold(redis.store, randomUUID());
    const counter = await redisCommandCounter(server.url);
    const served = Array.from({ length: 20 }, async () => {
      const held = await hold(rival.store, key, { waitMs: 30_000 });
      await rival.store.release([held]);
    });
    await eventually(async () => expect(await queueOf(redis.connection, key)).toHaveLength(20));
    const { GET: looks = 0 } = await counter.counts();
    await redis.store.release([{ key, ...holder }]);
    await Promise.all(served);
    const commands = await counter.commands();
    counter.stop();
    expect(commands.length - looks).toBeLessThanOrEqual(42);
  });

  it('is silent while it waits: no command of any connection', async () => {
    const { key } = await hold(redis.store, randomUUID());
    const waiters = await Promise.all(Array.from({ length: 20 }, () => queued(rival, key)));
    const counter = await redisCommandCounter(server.url);
    await passed(500);
    expect(await counter.commands()).toEqual([]);
    counter.stop();
    for (const waiter of waiters) waiter.abort();
  });
});

describe('a barging request', () => {
  const barging = { fairness: 'barging' } as const;

  it('takes a lock that is free though others wait for their turn', async () => {
    const { key } = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, key, barging);
    await endLease(redis.connection, key);
    const barger = await hold(redis.store, key, barging);
    expect(await queueOf(redis.connection, key)).toEqual([waiter.token]);
    await redis.store.release([barger]);
    await waiter.held;
  });

  it('that waits is told when the lock is free, and asks again', async () => {
    const holder = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, holder.key, barging);
    const releasedAt = monotonicMs();
    await redis.store.release([holder]);
    expect((await waiter.held).fence).toBeGreaterThan(holder.fence);
    expect(monotonicMs() - releasedAt).toBeLessThan(2_000);
  });

  it('that waits for a permit is told when one comes back', async () => {
    const permit = { ...barging, capacity: 2 };
    const first = await hold(redis.store, randomUUID(), permit);
    await hold(redis.store, first.key, permit);
    const waiter = await queued(rival, first.key, permit);
    const releasedAt = monotonicMs();
    await redis.store.release([first]);
    await waiter.held;
    expect(monotonicMs() - releasedAt).toBeLessThan(2_000);
  });
});
