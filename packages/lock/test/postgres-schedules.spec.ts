import 'reflect-metadata';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { eventually, type SeededRandom, seed, seededRandom } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

const postgres = usePostgres();
const KEYS = 3;
const WORKERS = 24;
const ROUNDS = 15;

interface Holder {
  readonly isShared: boolean;
  readonly fence: bigint;
}

/** Who has which key, by what the stores have answered. */
class History {
  private readonly holders = new Map<string, Set<Holder>>();
  private readonly fences = new Map<string, bigint>();
  readonly violations: string[] = [];
  grants = 0;

  enter(key: string, holder: Holder): void {
    this.grants += 1;
    const others = this.holders.get(key) ?? new Set();
    for (const other of others) if (!other.isShared || !holder.isShared) this.violations.push(`two holders of ${key}`);
    const last = this.fences.get(key) ?? 0n;
    // Readers that share a key may have been answered in another order than they were granted.
    if (!holder.isShared && holder.fence <= last) this.violations.push(`fence ${holder.fence} after ${last}`);
    if (holder.fence > last) this.fences.set(key, holder.fence);
    this.holders.set(key, others.add(holder));
  }

  leave(key: string, holder: Holder): void {
    this.holders.get(key)?.delete(holder);
  }
}

describe('any schedule of takers, waiters, readers and those who leave', () => {
  let stores: OpenedPostgres[];
  let locks: PostgresLocks;

  beforeAll(async () => {
    stores = [];
    for (let n = 0; n < 3; n += 1) stores.push(await openPostgres(postgres.url, { waiters: 3 }));
    locks = await PostgresLocks.connect(postgres.url);
  });
  afterAll(async () => {
    await Promise.all(stores.map(({ app }) => app.close()));
    await locks.end();
  });

  async function act(random: SeededRandom, history: History): Promise<void> {
    const { store } = random.pick(stores);
    const isShared = random.integer(0, 4) === 0;
    const controller = new AbortController();
    const request = wish({
      key: `key-${random.integer(0, KEYS)}`,
      waitMs: random.pick([0, 5, 50, 5_000]),
      capacity: isShared ? Number.POSITIVE_INFINITY : 1,
    });
    const left = new Error('left');
    const leaver = setTimeout(() => controller.abort(left), random.pick([2, 10, 30, 60_000, 60_000, 60_000]));
    const outcome = await store.acquire({ ...request, signal: controller.signal }).catch((error: unknown) => {
      if (error !== left) throw error;
      return undefined;
    });
    clearTimeout(leaver);
    if (outcome?.status !== 'granted') return;
    const holder = { isShared, fence: outcome.fence };
    history.enter(request.key, holder);
    for (let turns = random.integer(0, 200); turns > 0; turns -= 1) await endOfTurn();
    history.leave(request.key, holder);
    expect(await store.release([{ ...request, deadline: 0 }])).toEqual([{ status: 'released' }]);
  }

  it('has one writer or several readers at a time, rising fences, and leaves no lock behind', async () => {
    const random = seededRandom(seed());
    const history = new History();
    const worker = async (): Promise<void> => {
      for (let round = 0; round < ROUNDS; round += 1) await act(random, history);
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
    expect(history.violations).toEqual([]);
    expect(history.grants).toBeGreaterThan(WORKERS);
    // Those who left are gone before the server has been told.
    await eventually(async () => expect([await locks.count(true), await locks.count(false)]).toEqual([0, 0]));
  });
});
