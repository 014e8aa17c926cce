import 'reflect-metadata';
import { type IdempotencyStore, type LeaseExpiryPolicy, MemoryIdempotencyStore } from '@lockstep/idempotency';
import { type Exploration, explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordKey, runningKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import { StoreModel } from './support/store-model.js';

const LONG_MS = 60_000;
const RETENTION_MS = 3_600_000;
const done = { to: 'completed', response: '"done"', retentionMs: RETENTION_MS } as const;
const released = { to: 'released', notApplied: false, retentionMs: RETENTION_MS } as const;
const unknown = { to: 'uncertain' } as const;

function model(
  policy: LeaseExpiryPolicy,
  world: () => StoreModel,
  limits: Partial<Exploration<StoreModel>>,
): Exploration<StoreModel> {
  return {
    name: `idempotency store, policy ${policy}`,
    setup: world,
    actors: (subject) => ({
      a: subject.owner('a', done),
      b: subject.owner('b', policy === 'retry' ? released : unknown),
      clock: subject.clock(),
      sweeper: subject.sweeper(),
    }),
    invariant: (subject) => subject.check(),
    finalInvariant: (subject) => subject.atTheEnd(),
    crashes: 1,
    ...limits,
  };
}

describe.each(['uncertain', 'retry'] as const)('interleavings under policy %s', (policy) => {
  it('never give two live owners, overwrite an answer or let a zombie write: memory', async () => {
    const world = (): StoreModel => {
      let nowMs = 1_000;
      const store: IdempotencyStore = new MemoryIdempotencyStore({ nowMs: () => nowMs });
      return new StoreModel(store, policy, async () => {
        nowMs += LONG_MS;
      });
    };
    const report = await explore(model(policy, world, { maxSchedules: 1_500, randomSchedules: 1_500 }));
    expect(report.schedules).toBeGreaterThan(1_000);
    expect(report.truncated).toBe(0);
  });
});

describe('interleavings of the real scripts', () => {
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

  it.each(['uncertain', 'retry'] as const)('never give two live owners, policy %s', async (policy) => {
    const report = await explore(
      model(policy, () => new StoreModel(opened.store, policy, endLease), {
        maxSchedules: 100,
        randomSchedules: 150,
        blockedAfterTicks: 100_000,
        deadlockAfterMs: 5_000,
      }),
    );
    expect(report.schedules).toBeGreaterThanOrEqual(250);
  });
});
