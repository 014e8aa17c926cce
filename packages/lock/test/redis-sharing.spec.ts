import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { forgeWaiters, hold, queued, queueOf, wish } from './support/redis-wishes.js';
import { storedLock } from './support/stored-lock.js';

const READER = { capacity: Number.POSITIVE_INFINITY };
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

describe('locks that are shared', () => {
  it('let readers in at once when the writer before them leaves the queue', async () => {
    const { key } = await hold(redis.store, randomUUID(), READER);
    const writer = await queued(rival, key);
    const reader = await queued(rival, key, READER);
    const leftAt = monotonicMs();
    writer.abort();
    await reader.held;
    expect(monotonicMs() - leftAt).toBeLessThan(2_000);
  });

  it('do not let a dead writer keep readers out', async () => {
    const { key } = await hold(redis.store, randomUUID(), READER);
    await forgeWaiters(redis.connection, key, [{ token: randomUUID(), process: 'killed' }]);
    expect(await rival.store.acquire(wish(key, READER))).toMatchObject({ status: 'granted' });
  });

  it('do not let a writer that lives be overtaken by readers', async () => {
    const first = await hold(redis.store, randomUUID(), READER);
    const writer = await queued(rival, first.key);
    expect(await redis.store.acquire(wish(first.key, READER))).toMatchObject({ status: 'busy' });
    await redis.store.release([first]);
    expect((await writer.held).fence).toBeGreaterThan(first.fence);
  });

  it('answer each of a batch on its own: a busy one does not make the others busy (H4a)', async () => {
    const { key: taken } = await hold(redis.store, randomUUID());
    const outcomes = await Promise.all(
      [taken, randomUUID(), randomUUID()].map((key) => redis.store.acquire(wish(key, READER))),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['busy', 'granted', 'granted']);
  });

  it('give the same fence to who holds it together, and a greater one to who comes after', async () => {
    const first = await hold(redis.store, randomUUID(), READER);
    const second = await hold(rival.store, first.key, READER);
    expect(second.fence).toBe(first.fence);
    await redis.store.release([first, second]);
    expect((await hold(redis.store, first.key, READER)).fence).toBeGreaterThan(first.fence);
  });

  it('answer who asks again with its own share, not a second one', async () => {
    const first = await hold(redis.store, randomUUID(), { capacity: 2 });
    expect(await redis.store.acquire(first)).toMatchObject({ status: 'granted', fence: first.fence });
    await hold(rival.store, first.key, { capacity: 2 });
  });

  it('pass the permit of a holder whose lease ran out to who waits', async () => {
    const key = randomUUID();
    await hold(redis.store, key, { capacity: 2, ttlMs: 400 });
    await hold(redis.store, key, { capacity: 2 });
    const waiter = await queued(rival, key, { capacity: 2 });
    const startedAt = monotonicMs();
    await waiter.held;
    expect(monotonicMs() - startedAt).toBeLessThan(2_500);
  });

  it('do not revive the share of a holder whose lease ran out while another holds on', async () => {
    const key = randomUUID();
    const lapsed = await hold(redis.store, key, { ...READER, ttlMs: 100 });
    const other = await hold(redis.store, key, READER);
    const held = (await storedLock(redis.connection, key))?.sharers;
    expect(held).toContain(other.token);
    await expect
      .poll(async () => (await redis.store.extend([lapsed]))[0]?.status, { timeout: 100, interval: 200 })
      .toBe('extended');
    const late = await hold(redis.store, key, { ...READER, ttlMs: 100 });
    await expect.poll(() => monotonicMs() > late.deadline + 5, { timeout: 5_000 }).toBe(true);
    expect(await redis.store.extend([late])).toEqual([{ status: 'lost', cause: 'expired' }]);
    expect(await redis.store.extend([other])).toMatchObject([{ status: 'extended' }]);
    await redis.store.release([other]);
    expect(await queueOf(redis.connection, key)).toEqual([]);
  });
});
