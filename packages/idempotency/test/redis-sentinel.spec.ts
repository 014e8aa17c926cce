import 'reflect-metadata';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { eventually, type RedisSentinel, startRedisSentinel } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beginRequest } from './support/begin-requests.js';
import { recordKey } from './support/redis-keys.js';
import { openRedisStore } from './support/redis-store.js';

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

describeIdempotencyStoreContract({ name: 'redis behind sentinels', open: () => openRedisStore(client, 'contract') });

describe('a failover', () => {
  const PATIENCE = { timeoutMs: 30_000, intervalMs: 100 };
  const completed = { to: 'completed', response: '"done"', retentionMs: 600_000 } as const;
  const released = { to: 'released', notApplied: false, retentionMs: 600_000 } as const;

  it('keeps claims, answers, steps and fences that the replica had, and still tells who waits', {
    timeout: 90_000,
  }, async () => {
    const { store, redis, close } = await openRedisStore(client, 'sentinel');
    const [running, answered, freed, lost] = Array.from({ length: 4 }, () => beginRequest());
    if (!running || !answered || !freed || !lost) throw new Error('unreachable');
    for (const request of [running, answered, freed]) await store.begin(request);
    const before = await store.begin(lost);
    await store.saveStep(running, 'charge', '"kept"');
    await store.settle(answered, completed);
    await store.settle(freed, released);
    let heard = 0;
    const leave = await store.watch(running.id, () => {
      heard += 1;
    });
    await store.begin(beginRequest({ id: running.id, isWaiting: true }));
    await redis.command('test', 'wait', 1, 1_000);
    const elected = await group.failover();
    const admin = new Redis(elected.url);
    await admin.del(recordKey(redis, lost.id));
    admin.disconnect();

    const renewal = { ...running, leaseMs: 60_000, retentionMs: 600_000 };
    await eventually(async () => expect(await store.renew([renewal])).toEqual(['renewed']), PATIENCE);
    expect(await store.begin(running)).toMatchObject({ outcome: 'acquired', steps: { charge: '"kept"' } });
    expect(await store.begin(beginRequest({ id: answered.id }))).toEqual({ outcome: 'completed', response: '"done"' });
    expect(await store.begin(beginRequest({ id: freed.id }))).toMatchObject({ outcome: 'acquired' });

    // What the failover lost is new again, under a fence that is higher all the same.
    const after = await store.begin(beginRequest({ id: lost.id }));
    if (before.outcome !== 'acquired' || after.outcome !== 'acquired') throw new Error('it was not acquired');
    expect(after.fence).toBeGreaterThan(before.fence);

    // Whoever is not back yet when it ends hears of it when it is.
    await store.settle(running, completed);
    await eventually(() => expect(heard).toBeGreaterThan(0), PATIENCE);
    await leave();
    await close();
  });
});
