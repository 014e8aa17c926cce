import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { endLease, lockKey, ownerOf, storedLock } from './support/stored-lock.js';

const server = useRedis();
let redis: OpenedRedis;
beforeAll(async () => {
  redis = await openRedis(server.url, server.prefix);
});
afterAll(() => redis.app.close());

function request(key: string, waitMs = 0, ttlMs = 10_000) {
  return { key, token: randomUUID(), ttlMs, waitMs, capacity: 1, fairness: 'fifo' as const };
}

async function hold(key: string, ttlMs?: number) {
  const wish = request(key, 0, ttlMs);
  const grant = await redis.store.acquire(wish);
  if (grant.status === 'busy') throw new Error(`${key} is busy`);
  return { ...wish, ...grant };
}

describe('locks on Redis', () => {
  it('cost one command to acquire and one to release', async () => {
    const counter = await countCommandsOf(redis.connection, server.url);
    await redis.store.release([await hold(randomUUID())]);
    await counter.reset();
    await redis.store.release([await hold(randomUUID())]);
    const mine = await counter.commands();
    counter.stop();
    expect(mine).toEqual(['EVALSHA', 'EVALSHA']);
  });

  it('extend a hundred leases in one command', async () => {
    const held = await Promise.all(Array.from({ length: 100 }, () => hold(randomUUID())));
    const wishes = held.map(({ key, token }) => ({ key, token, ttlMs: 10_000 }));
    await redis.store.extend(wishes);
    const counter = await countCommandsOf(redis.connection, server.url);
    await redis.store.extend(wishes);
    expect(await counter.commands()).toEqual(['EVALSHA']);
    counter.stop();
  });

  it('keep fences of 16 digits exact (C5a)', async () => {
    const key = randomUUID();
    const { fence } = await hold(key);
    expect(fence.toString()).toMatch(/^\d{16}$/);
    expect((await storedLock(redis.connection, key))?.fence).toBe(fence.toString());
  });

  it('remember the fence of a holder whose lease ran out, even if the clock was set back since (C5b)', async () => {
    const key = randomUUID();
    const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
    await redis.connection.command(
      'test',
      'set',
      lockKey(redis.connection, key),
      `crashed|${ahead}|1|||`,
      'PX',
      60_000,
    );
    expect((await hold(key)).fence).toBe(ahead + 1n);
  });

  it('remember the fence of a released lock', async () => {
    const key = randomUUID();
    const holder = await hold(key);
    await redis.store.release([holder]);
    expect(await storedLock(redis.connection, key)).toMatchObject({ token: '', fence: holder.fence.toString() });
  });

  it('leave no key behind for ever', async () => {
    const key = randomUUID();
    const ttl = async (): Promise<number> =>
      Number(await redis.connection.command('test', 'pttl', lockKey(redis.connection, key)));
    const holder = await hold(key, 5_000);
    expect(await ttl()).toBeGreaterThan(60_000);
    await redis.store.extend([{ ...holder, ttlMs: 5_000 }]);
    expect(await ttl()).toBeGreaterThan(60_000);
    await redis.store.release([holder]);
    expect(await ttl()).toBeGreaterThan(0);
    expect(await ttl()).toBeLessThanOrEqual(65_000);
  });

  it('raise the fence even after the server lost its data', async () => {
    const key = randomUUID();
    const { fence } = await hold(key);
    await redis.connection.command('test', 'del', lockKey(redis.connection, key));
    expect((await hold(key)).fence).toBeGreaterThan(fence);
  });

  it('fail alone when one of a batch meets a key of another kind (H4a)', async () => {
    const keys = [randomUUID(), randomUUID(), randomUUID()];
    const [, foreign = ''] = keys;
    await redis.connection.command('test', 'lpush', lockKey(redis.connection, foreign), 'x');
    const outcomes = await Promise.allSettled(keys.map((key) => hold(key)));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(outcomes[1]).toMatchObject({ reason: { code: 'REDIS_SCRIPT_FAILED', kind: 'unknown' } });
  });

  it('are freed before they are asked for in one tick, whatever is called first (H4c)', async () => {
    const holder = await hold(randomUUID());
    const [asked, released] = await Promise.all([
      redis.store.acquire(request(holder.key)),
      redis.store.release([holder]),
    ]);
    expect(released).toEqual([{ status: 'released' }]);
    expect(asked).toMatchObject({ status: 'granted' });
  });

  it('wake a waiter whose push was lost with its connection', async () => {
    const holder = await hold(randomUUID(), 60_000);
    const waiter = redis.store.acquire(request(holder.key, 30_000));
    await eventually(async () => expect((await storedLock(redis.connection, holder.key))?.queue).not.toBe(''));
    await redis.connection.command('test', 'client', 'kill', 'type', 'pubsub');
    await redis.connection.command('test', 'set', lockKey(redis.connection, holder.key), `|${holder.fence}|0|||`);
    expect(await waiter).toMatchObject({ status: 'granted' });
  });

  it('send nothing while a waiter waits', async () => {
    const holder = await hold(randomUUID(), 60_000);
    const controller = new AbortController();
    const waiter = redis.store.acquire({ ...request(holder.key, 30_000), signal: controller.signal });
    await eventually(async () => expect((await storedLock(redis.connection, holder.key))?.queue).not.toBe(''));
    const counter = await countCommandsOf(redis.connection, server.url);
    await counter.reset();
    const until = monotonicMs() + 300;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
    expect(await counter.commands()).toEqual([]);
    counter.stop();
    controller.abort();
    await expect(waiter).rejects.toThrow();
  });

  it('grant to a waiter when the holder died, at the end of its lease', async () => {
    const holder = await hold(randomUUID(), 300);
    const startedAt = monotonicMs();
    expect(await redis.store.acquire(request(holder.key, 10_000))).toMatchObject({ status: 'granted' });
    expect(monotonicMs() - startedAt).toBeLessThan(2_000);
  });

  it('do not leave a waiter behind that was cancelled while it asked', async () => {
    const key = randomUUID();
    for (let round = 0; round < 20; round += 1) {
      const controller = new AbortController();
      const wish = redis.store.acquire({ ...request(key, 1_000), signal: controller.signal });
      controller.abort(new Error('left'));
      await expect(wish).rejects.toThrow('left');
    }
    await eventually(async () => expect(await ownerOf(redis.connection, key)).toBeUndefined());
    await redis.store.close();
  });

  it('forget that a holder was alive once its lease has ended at the server', async () => {
    const holder = await hold(randomUUID());
    await endLease(redis.connection, holder.key);
    expect(await redis.store.extend([holder])).toEqual([{ status: 'lost', cause: 'expired' }]);
  });
});
