import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { eventually, type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis, openRedisStore, openRivalStores } from './support/redis-store.js';
import { hold, queued, wish } from './support/redis-wishes.js';
import { lockKey, ownerOf } from './support/stored-lock.js';

let master: RedisServer;
let replica: RedisServer;
let direct: OpenedRedis;
beforeAll(async () => {
  master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  replica = await startRedis({ args: ['--replicaof', master.host, String(master.port)] });
  direct = await openRedis(master.url, 'replicas');
  await inStep();
});
afterAll(async () => {
  await direct.app.close();
  await replica.stop();
  await master.stop();
});

async function inStep(): Promise<void> {
  await eventually(
    async () => {
      const info = await direct.connection.command('test', 'info', 'replication');
      expect(String(info)).toContain('state=online');
    },
    { timeoutMs: 15_000 },
  );
}

function open(): Promise<OpenedRedis> {
  return openRedisStore({ url: master.url, namespace: 'replicas', replicas: 1 });
}

describeLockStoreContract({
  name: 'redis with a replica that must have each grant',
  abilities: { expires: true, shares: 'any', queues: true },
  open: () => openRivalStores(open),
});

describe('a lock that a replica must have', () => {
  let redis: OpenedRedis;
  beforeAll(async () => {
    redis = await open();
  });
  afterEach(async () => {
    replica.resume();
    await inStep();
  });
  afterAll(() => redis.app.close());

  it('is granted when the replica has it', async () => {
    const copy = await openRedis(replica.url, 'replicas');
    for (let round = 0; round < 10; round += 1) {
      const { key, token } = await hold(redis.store, randomUUID());
      const value = await copy.connection.command('test', 'get', lockKey(copy.connection, key));
      expect(String(value)).toContain(token);
    }
    await copy.app.close();
  });

  it('is not granted while the replica stands still, and is free afterwards', async () => {
    const { key } = await hold(redis.store, randomUUID()).then(async (held) => {
      await redis.store.release([held]);
      return held;
    });
    replica.pause();
    await expect(redis.store.acquire(wish(key))).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      kind: 'unavailable',
      outcome: 'not-applied',
    });
    expect(await ownerOf(direct.connection, key)).toBeUndefined();
    await hold(direct.store, key);
  });

  it('that is handed on is granted only when the replica has it, and passed on where it has not', async () => {
    const holder = await hold(direct.store, randomUUID());
    const waiter = await queued(redis, holder.key);
    replica.pause();
    await direct.store.release([holder]);
    await expect(waiter.held).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(await ownerOf(direct.connection, holder.key)).toBeUndefined();
  });

  it('does not keep heartbeats waiting while another grant waits for the replica (H4d)', async () => {
    const holder = await hold(redis.store, randomUUID());
    replica.pause();
    const refused = redis.store.acquire(wish(randomUUID()));
    refused.catch(() => undefined);
    const slowest: number[] = [];
    for (let beat = 0; beat < 5; beat += 1) {
      const startedAt = monotonicMs();
      expect(await redis.store.extend([holder])).toMatchObject([{ status: 'extended' }]);
      slowest.push(monotonicMs() - startedAt);
    }
    expect(Math.min(...slowest)).toBeLessThan(100);
    expect(Math.max(...slowest)).toBeLessThan(400);
    await expect(refused).rejects.toMatchObject({ outcome: 'not-applied' });
  });

  it('shares its question with all that are taken at the same time', async () => {
    const counter = await redisCommandCounter(master.url);
    await Promise.all(Array.from({ length: 100 }, () => hold(redis.store, randomUUID())));
    const { WAIT = 0 } = await counter.counts();
    counter.stop();
    expect(WAIT).toBeGreaterThan(0);
    expect(WAIT).toBeLessThanOrEqual(4);
  });
});
