import 'reflect-metadata';
import { type IdempotencyStore, MemoryIdempotencyStore } from '@lockstep/idempotency';
import { explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordKey, runningKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import { LONG_MS, RETENTION_MS, StoreModel } from './support/store-model.js';
import { exploration, policies, scenes } from './support/store-scenes.js';

describe.each(policies)('in all interleavings under policy %s', (policy) => {
  it.each(scenes)('$title: memory', async (scene) => {
    const world = (): StoreModel => {
      let nowMs = 1_000;
      const store: IdempotencyStore = new MemoryIdempotencyStore({ nowMs: () => nowMs });
      const endLease = async (): Promise<void> => {
        nowMs += LONG_MS;
      };
      const growOld = (): void => {
        nowMs += 2 * RETENTION_MS;
      };
      return new StoreModel({ store, policy, endLease, growOld });
    };
    const report = await explore(exploration(scene, policy, world, { maxSchedules: 300, randomSchedules: 400 }));
    expect(report.schedules).toBeGreaterThanOrEqual(300);
    expect(report.truncated).toBe(0);
  });
});

describe('in interleavings of the real scripts', () => {
  const server = useRedis();
  let opened: OpenRedisStore;
  beforeAll(async () => {
    opened = await openRedisStore(server.url, server.prefix);
  });
  afterAll(() => opened.close());

  /** Time cannot be set at a server, but the end of a lease can. */
  async function endLease(id: string): Promise<void> {
    const { redis } = opened;
    if ((await redis.command('test', 'hget', recordKey(redis, id), 'st')) !== 'P') return;
    await redis.command('test', 'hset', recordKey(redis, id), 'lx', '1');
    await redis.command('test', 'zadd', runningKey(redis, id), 'XX', '1', `${id} POST /orders`);
  }

  describe.each(policies)('under policy %s', (policy) => {
    it.each(scenes)('$title', async (scene) => {
      const world = (): StoreModel => new StoreModel({ store: opened.store, policy, endLease });
      const report = await explore(
        exploration(scene, policy, world, {
          maxSchedules: 20,
          randomSchedules: 60,
          blockedAfterTicks: 100_000,
          deadlockAfterMs: 5_000,
        }),
      );
      expect(report.schedules).toBeGreaterThanOrEqual(80);
    });
  });
});
