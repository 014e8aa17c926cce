import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { eventually, type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis, openRedisStore, openRivalStores } from './support/redis-store.js';
import { hold, queued, wish } from './support/redis-wishes.js';
import { splitClient } from './support/split-client.js';
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

  it('is not extended while the replica stands still, so that its holder counts only on what the replica has', async () => {
    const holder = await hold(redis.store, randomUUID());
    expect(await redis.store.extend([holder])).toMatchObject([{ status: 'extended' }]);
    replica.pause();
    const lost = { ...holder, key: randomUUID() };
    expect(await redis.store.extend([holder, lost])).toMatchObject([
      { status: 'failed', error: { code: 'STORE_UNAVAILABLE', outcome: 'unknown' } },
      { status: 'lost' },
    ]);
    replica.resume();
    await eventually(async () => expect(await redis.store.extend([holder])).toMatchObject([{ status: 'extended' }]));
  });

  it('keeps no other command waiting while it waits for the replica (H4d)', async () => {
    const holder = await hold(redis.store, randomUUID());
    replica.pause();
    const [refused, failed] = [redis.store.acquire(wish(randomUUID())), redis.store.extend([holder])];
    refused.catch(() => undefined);
    const took: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const startedAt = monotonicMs();
      await redis.store.inspect(holder.key);
      took.push(monotonicMs() - startedAt);
    }
    expect(Math.min(...took)).toBeLessThan(100);
    expect(Math.max(...took)).toBeLessThan(400);
    await expect(refused).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(await failed).toMatchObject([{ status: 'failed' }]);
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

describe('a grant on a master that others have left', () => {
  it('does not count, though the replicas of the new master answer', async () => {
    const old = await startRedis();
    const ways = { commandUrl: old.url, pushUrl: master.url };
    const redis = await openRedisStore({
      client: splitClient(ways.commandUrl, ways.pushUrl),
      namespace: 'replicas',
      replicas: 1,
    });
    await expect(redis.store.acquire(wish(randomUUID()))).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
      cause: { message: 'the connection that asks for replicas leads to another server' },
    });
    await redis.app.close();
    await old.stop();
  });

  it('does not count either when the connection went to the new master after it', async () => {
    const { connection } = direct;
    const barrier = connection.replicaBarrier({ replicas: 1, timeoutMs: 500 });
    const sentAt = monotonicMs();
    await barrier.pass(sentAt);
    await connection.command('test', 'client', 'kill', 'type', 'normal', 'skipme', 'no').catch(() => undefined);
    await eventually(() => expect(connection.connectedAt).toBeGreaterThan(sentAt));
    await expect(eventually(() => barrier.pass(monotonicMs()))).resolves.toBeUndefined();
    await expect(barrier.pass(sentAt)).rejects.toMatchObject({ outcome: 'unknown' });
  });
});
