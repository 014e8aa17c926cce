import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { eventually, type RedisServer, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedisStore } from './support/redis-store.js';
import { hold, queued } from './support/redis-wishes.js';

const KEYS = 100_000;
const IN_FLIGHT = 500;
let server: RedisServer;
let redis: OpenedRedis;
beforeAll(async () => {
  server = await startRedis();
  redis = await openRedisStore({
    url: server.url,
    namespace: 'growth',
    fenceRetentionMs: 1_000,
    commandTimeoutMs: 5_000,
  });
});
afterAll(async () => {
  await redis.app.close();
  await server.stop();
});

/** How much each collection below the object holds, by its path. */
function collections(of: object, path = '', seen = new Set<object>()): Record<string, number> {
  if (seen.has(of) || seen.size > 10_000) return {};
  seen.add(of);
  const sizes: Record<string, number> = {};
  for (const [name, value] of Object.entries(of)) {
    if (typeof value !== 'object' || value === null || /client|source|incidents/.test(name)) continue;
    const here = `${path}.${name}`;
    if (value instanceof Map || value instanceof Set) sizes[here] = value.size;
    else if (Array.isArray(value)) sizes[here] = value.length;
    else Object.assign(sizes, collections(value, here, seen));
  }
  return sizes;
}

describe('100 000 distinct keys', () => {
  it('leave nothing in this process, and nothing on the server after the retention of fences', {
    timeout: 60_000,
  }, async () => {
    const holder = await hold(redis.store, randomUUID(), { ttlMs: 1_000 });
    const first = await queued(redis, holder.key, { ttlMs: 1_000 });
    await redis.store.release([holder]);
    await redis.store.release([await first.held]);
    const before = collections(redis.store);
    expect(Object.keys(before).sort()).toEqual(expect.arrayContaining(['.echoes.echoes', '.waiting']));

    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < KEYS) {
        next += 1;
        const held = await hold(redis.store, `sku:${next}`, { ttlMs: 1_000, waitMs: 5_000 });
        await redis.store.release([held]);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    const waiters = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const held = await hold(redis.store, `contended:${n}`, { ttlMs: 1_000 });
        const waiter = await queued(redis, held.key, { ttlMs: 1_000 });
        if (n % 2 === 0) waiter.abort();
        await redis.store.release([held]);
        return waiter;
      }),
    );
    for (const { held } of waiters) {
      const grant = await held.catch(() => undefined);
      if (grant) await redis.store.release([grant]);
    }
    await eventually(() => expect(collections(redis.store)).toEqual(before));
    await eventually(async () => expect(await redis.connection.command('test', 'dbsize')).toBe(0), {
      timeoutMs: 10_000,
    });
  });
});
