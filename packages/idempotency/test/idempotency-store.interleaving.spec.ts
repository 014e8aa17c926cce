import 'reflect-metadata';
import { type IdempotencyStore, type LeaseExpiryPolicy, MemoryIdempotencyStore } from '@lockstep/idempotency';
import { type Actor, type Exploration, explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordKey, runningKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import {
  adopter,
  clock,
  done,
  freed,
  issuer,
  operator,
  owner,
  released,
  sweeper,
  told,
  unheard,
  unknown,
} from './support/store-actors.js';
import { LONG_MS, RETENTION_MS, StoreModel } from './support/store-model.js';

interface Scene {
  readonly title: string;
  readonly actors: (world: StoreModel) => Readonly<Record<string, Actor>>;
  readonly isIssueNeeded?: boolean;
}

const policies: readonly LeaseExpiryPolicy[] = ['uncertain', 'retry'];

const scenes: readonly Scene[] = [
  {
    title: 'owners never live side by side, overwrite an answer or write as a zombie',
    actors: (world) => ({
      a: owner(world, 'a', done),
      b: owner(world, 'b', world.policy === 'retry' ? released : unknown),
      clock: clock(world),
      sweeper: sweeper(world),
    }),
  },
  {
    title: 'what its owner calls unknown is adopted with its steps by one at a time, and begun by nobody',
    actors: (world) => ({
      a: owner(world, 'a', unknown),
      x: adopter(world, 'x', done),
      y: adopter(world, 'y', unknown),
      b: owner(world, 'b', done),
      clock: clock(world),
    }),
  },
  {
    title: 'an operator has the last word, and a begin that nobody heard of leaves nothing uncertain',
    actors: (world) => ({
      lost: unheard(world, 'lost'),
      a: owner(world, 'a', unknown),
      operator: operator(world, world.policy === 'retry' ? told : freed),
      clock: clock(world),
      sweeper: sweeper(world),
    }),
  },
  {
    title: 'what must be issued begins after that, once, and is never told to be absent',
    actors: (world) => ({
      issuer: issuer(world),
      a: owner(world, 'a', done, true),
      b: owner(world, 'b', released, true),
      clock: clock(world),
    }),
    isIssueNeeded: true,
  },
];

function exploration(
  scene: Scene,
  policy: LeaseExpiryPolicy,
  setup: () => StoreModel,
  limits: Partial<Exploration<StoreModel>>,
): Exploration<StoreModel> {
  return {
    name: `${scene.title} (policy ${policy})`,
    setup,
    actors: scene.actors,
    invariant: (world) => world.check(),
    finalInvariant: (world) => world.atTheEnd(scene.isIssueNeeded),
    crashes: 1,
    ...limits,
  };
}

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
    const report = await explore(exploration(scene, policy, world, { maxSchedules: 600, randomSchedules: 900 }));
    expect(report.schedules).toBeGreaterThanOrEqual(600);
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
