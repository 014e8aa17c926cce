import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { type LockStore, MemoryLockStore } from '@lockstep/lock';
import { type Actor, explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rawAcquire, rawRelease } from './support/raw-scripts.js';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { endLease, lockKey, ownerOf } from './support/stored-lock.js';

const TTL_MS = 60_000;
const REAL_IO = { blockedAfterTicks: 100_000, deadlockAfterMs: 5_000 };

/** One lock, who believes to hold it, and what must stay true. */
class LockModel {
  readonly key = randomUUID();
  private readonly believers = new Set<string>();
  private lastFence = 0n;
  violation: string | undefined;

  constructor(private readonly store: LockStore) {}

  check(): void {
    if (this.violation) throw new Error(this.violation);
  }

  /** Time passes: every lease ends, and every holder sees so on its own clock. */
  leasesEnd(): void {
    this.believers.clear();
  }

  holder(name: string): Actor {
    return async (step) => {
      for (const round of [1, 2]) {
        await step(`acquire ${round}`);
        const request = {
          key: this.key,
          token: `${name}${round}`,
          ttlMs: TTL_MS,
          waitMs: 0,
          capacity: 1,
          fairness: 'fifo' as const,
        };
        const outcome = await this.store.acquire(request);
        if (outcome.status === 'busy') continue;
        this.granted(request.token, outcome.fence);
        await step(`acquire again ${round}`);
        if (this.believers.has(request.token)) await this.again(request.token);
        await step(`extend ${round}`);
        const [extended] = await this.store.extend([request]);
        if (extended?.status === 'lost' && this.believers.has(request.token)) this.fail(`${request.token} lost early`);
        await step(`release ${round}`);
        this.believers.delete(request.token);
        await this.store.release([{ ...request, deadline: 0 }]);
      }
    };
  }

  private async again(token: string): Promise<void> {
    const outcome = await this.store.acquire({
      key: this.key,
      token,
      ttlMs: TTL_MS,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo' as const,
    });
    if (outcome.status === 'busy' || outcome.fence !== this.lastFence)
      this.fail(`${token}: asked twice, got two answers`);
  }

  private granted(token: string, fence: bigint): void {
    if (this.believers.size > 0) this.fail(`${token} and ${[...this.believers]} hold the lock at once`);
    if (fence <= this.lastFence) this.fail(`fence ${fence} after ${this.lastFence}`);
    this.lastFence = fence;
    this.believers.add(token);
  }

  fail(violation: string): void {
    this.violation ??= violation;
  }
}

describe('interleavings of holders', () => {
  const server = useRedis();
  let redis: OpenedRedis;
  beforeAll(async () => {
    redis = await openRedis(server.url, server.prefix);
  });
  afterAll(() => redis.app.close());

  it('never show two owners, nor a fence that does not rise: memory', async () => {
    const report = await explore({
      name: 'memory locks',
      setup: () => new LockModel(new MemoryLockStore()),
      actors: (model) => ({ a: model.holder('a'), b: model.holder('b') }),
      invariant: (model) => model.check(),
      crashes: 1,
    });
    expect(report.schedules).toBeGreaterThan(500);
  });

  it('never show two owners, nor a fence that does not rise, over expiry and lost data: the real scripts', async () => {
    const clock =
      (model: LockModel): Actor =>
      async (step) => {
        await step('leases end');
        model.leasesEnd();
        await endLease(redis.connection, model.key);
        await step('leases end and the data is lost');
        model.leasesEnd();
        await redis.connection.command('test', 'del', lockKey(redis.connection, model.key));
      };
    const report = await explore({
      name: 'redis locks',
      setup: () => new LockModel(redis.store),
      actors: (model) => ({ a: model.holder('a'), b: model.holder('b'), clock: clock(model) }),
      invariant: (model) => model.check(),
      crashes: 1,
      maxSchedules: 150,
      randomSchedules: 250,
      ...REAL_IO,
    });
    expect(report.schedules).toBeGreaterThanOrEqual(400);
  });

  it('never make a revoked token the owner, whenever copies of its request arrive', async () => {
    const acquire = rawAcquire(redis.connection);
    const release = rawRelease(redis.connection);
    const setup = () => {
      const lock = lockKey(redis.connection, randomUUID());
      return {
        lock,
        token: randomUUID(),
        notAfterMs: Math.ceil(redis.connection.serverTimeMs()) + 3,
        isRevoked: false,
      };
    };
    type World = ReturnType<typeof setup>;
    const network =
      (world: World): Actor =>
      async (step) => {
        for (const copy of [1, 2, 3]) {
          await step(`copy ${copy} arrives`);
          await acquire.run(world);
        }
      };
    const revoker =
      (world: World): Actor =>
      async (step) => {
        await step('revoke');
        while ((await release.run(world)) <= world.notAfterMs) await step('revoke again');
        world.isRevoked = true;
      };
    const check = async (world: World): Promise<void> => {
      const value = await redis.connection.command('test', 'get', world.lock);
      if (world.isRevoked && typeof value === 'string' && value.startsWith(world.token))
        throw new Error('a revoked token owns the lock');
    };
    await explore({
      name: 'late copies',
      setup,
      actors: (world) => ({ network: network(world), revoker: revoker(world) }),
      finalInvariant: check,
      maxSchedules: 0, // the server's clock goes on, so no schedule repeats exactly
      randomSchedules: 200,
      ...REAL_IO,
    });
    expect(await ownerOf(redis.connection, 'nobody')).toBeUndefined();
  });
});
