import 'reflect-metadata';
import { Incidents, StoreUnavailableError } from '@lockstep/core';
import {
  type ClaimedMessages,
  type ClaimRequest,
  DeliveryPublisher,
  type MessageTransport,
  type OutboxDelivery,
  type OutboxStore,
  type OverdueRequest,
  RedeliveryPass,
  RelayPass,
  type Settlement,
  type ShardLease,
  SlowStart,
} from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const BATCH = 3;
const LAG_MS = 30_000;
const CADENCE_MS = 60_000;

/** One shard, whose positions a test draws itself; whoever commits a row puts it there. */
class ShardOfRows {
  readonly rows = new Map<number, { readonly awaitsAck: boolean }>();
  readonly requests: ClaimRequest[] = [];
  /** How long a claim from the beginning takes. */
  fullClaimMs = 0;
  failure: Error | undefined;
  settleFailure: Error | undefined;
  during: () => Promise<void> = async () => undefined;

  commit(awaitsAck: boolean, ...positions: number[]): void {
    for (const position of positions) this.rows.set(position, { awaitsAck });
  }

  async claim(request: ClaimRequest): Promise<ClaimedMessages> {
    this.requests.push(request);
    if (this.failure) throw this.failure;
    await this.during();
    if (request.after === undefined) vi.advanceTimersByTime(this.fullClaimMs);
    const after = Number(request.after ?? 0);
    const found = [...this.rows].filter(([position]) => position > after).sort(([a], [b]) => a - b);
    const claimed = found.slice(0, request.limit);
    for (const [position, { awaitsAck }] of claimed) if (awaitsAck) this.rows.delete(position);
    const deliveries = claimed.map(([position, { awaitsAck }]) => ({
      message: {
        id: String(position),
        topic: 'orders',
        key: undefined,
        payload: String(position),
        headers: {},
        publishedAt: 0,
      },
      consumer: 'points',
      awaitsAck,
      deliveries: 1,
      place: awaitsAck ? undefined : { shard: 0, position: String(position) },
    }));
    return { deliveries, messages: claimed.length, claimedAt: undefined, reached: claimed.at(-1)?.[0].toString() };
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    if (this.settleFailure) throw this.settleFailure;
    for (const one of settlements) if (one.outcome === 'accepted') this.rows.delete(Number(one.position));
  }
}

describe('A scan of the store', () => {
  it('is given more time once it failed or was slow, until it is quick again', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const asked: (boolean | undefined)[] = [];
    let step = async (): Promise<void> => undefined;
    const overdue = async ({ patient }: OverdueRequest): Promise<readonly OutboxDelivery[]> => {
      asked.push(patient);
      await step();
      return [];
    };
    const store = { overdue } as unknown as OutboxStore;
    const pauses = { redeliverAfterMs: 30, redeliverAtMostMs: 30 };
    const publisher = new DeliveryPublisher(store, {} as MessageTransport, new Incidents());
    const pass = new RedeliveryPass(pauses, store, publisher, new SlowStart(10), new Incidents());
    await pass.run();
    step = () => Promise.reject(new Error('no answer in time'));
    await expect(pass.run()).rejects.toThrow('no answer');
    step = async () => void vi.advanceTimersByTime(3_000);
    await pass.run();
    await pass.run();
    step = async () => undefined;
    await pass.run();
    await pass.run();
    vi.useRealTimers();
    expect(asked).toEqual([false, false, true, true, true, false]);
  });
});

describe('The floor of the claims of a shard', () => {
  let shard: ShardOfRows;
  let relayed: number[];
  let isDown: boolean;
  let isHeld: boolean;
  let renewals: number;
  let lease: ShardLease;
  let relay: RelayPass;

  const leaseOf = (): ShardLease => ({
    isHeld: () => isHeld,
    renew: async () => {
      renewals += 1;
      return true;
    },
    release: async () => undefined,
  });
  const unavailable = () => new StoreUnavailableError({ store: 'test', operation: 'step', outcome: 'unknown' });

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    shard = new ShardOfRows();
    relayed = [];
    isDown = false;
    isHeld = true;
    renewals = 0;
    lease = leaseOf();
    const transport: MessageTransport = {
      publish: async (_, messages) => {
        if (isDown) throw unavailable();
        relayed.push(...messages.map(({ payload }) => Number(payload)));
        return messages.map(() => ({ outcome: 'accepted' }));
      },
      consume: () => {
        throw new Error('not here');
      },
      close: async () => undefined,
    };
    const store = shard as unknown as OutboxStore;
    const incidents = new Incidents();
    const range = { fromShard: 0, toShard: 0, redeliverAfterMs: 60_000 };
    const publisher = new DeliveryPublisher(store, transport, incidents);
    relay = new RelayPass(range, store, publisher, new SlowStart(BATCH), incidents);
  });
  afterEach(() => vi.useRealTimers());

  const pass = () => relay.run(lease);
  const lastAfter = () => shard.requests.at(-1)?.after;
  const takeNew = () => relayed.splice(0);

  /** A message a second: the floor is at the first one after that. Ten positions lie between one and the next. */
  const flow = async (seconds: number, from: number, awaitsAck = true) => {
    for (let second = 0; second < seconds; second += 1) {
      shard.commit(awaitsAck, from + second * 10);
      await pass();
      vi.advanceTimersByTime(1_000);
    }
    return takeNew();
  };

  it('rises behind the claims, so that dead entries before it are not passed again', async () => {
    await flow(40, 1_000);
    const floors = shard.requests.map(({ after }) => after);
    expect(floors.slice(0, 31)).toEqual(Array(31).fill(undefined));
    expect(Number(floors.at(-1))).toBeGreaterThanOrEqual(1_000 + 7 * 10);
    expect(Number(floors.at(-1))).toBeLessThanOrEqual(1_390 - LAG_MS / 100);
  });

  it('rises while a backlog is worked off without an end', async () => {
    shard.commit(true, ...Array.from({ length: 1_000 }, (_, n) => n + 1));
    for (let passes = 0; passes < 200; passes += 1) {
      expect(await pass()).toBe(true);
      vi.advanceTimersByTime(250);
    }
    expect(Number(lastAfter())).toBeGreaterThan(200);
    expect(takeNew()).toEqual(Array.from({ length: 600 }, (_, n) => n + 1));
  });

  it('never passes a message that commits within the lag, however late the relay looks again', async () => {
    await flow(40, 1_000);
    shard.commit(true, 1_500);
    await pass();
    vi.advanceTimersByTime(LAG_MS - 1);
    shard.commit(true, 1_499);
    vi.advanceTimersByTime(20_000);
    shard.commit(true, 1_600);
    await pass();
    expect(lastAfter()).toBeDefined();
    expect(takeNew()).toEqual([1_500, 1_499, 1_600]);
  });

  it('leaves a message that commits later to the next claim from the beginning', async () => {
    shard.fullClaimMs = 500;
    await flow(45, 1_000);
    shard.commit(true, 5);
    const started = performance.now();
    let found: number[] = [];
    while (!found.includes(5)) found = await flow(1, 2_000 + performance.now() / 100);
    expect(performance.now() - started).toBeGreaterThan(10_000);
    expect(performance.now() - started).toBeLessThanOrEqual(CADENCE_MS + 2_000);
    expect(shard.requests.filter(({ after }) => after === undefined).at(-1)).toMatchObject({ patient: true });
  });

  it('finds all that committed later, however many there are', async () => {
    await flow(45, 1_000);
    const late = Array.from({ length: 10 }, (_, n) => n + 1);
    shard.commit(true, ...late);
    vi.advanceTimersByTime(CADENCE_MS);
    while (await pass());
    expect(takeNew()).toEqual(late);
  });

  it('looks at once for what is late where that costs little', async () => {
    await flow(45, 1_000);
    shard.commit(true, 5);
    await pass();
    expect(takeNew()).toEqual([]);
    await pass();
    expect(takeNew()).toEqual([5]);
    expect(shard.requests.at(-1)?.patient).toBe(false);
  });

  it('does not look for it at once where a claim from the beginning is slow', async () => {
    shard.fullClaimMs = 200;
    await flow(45, 1_000);
    shard.commit(true, 5);
    for (let passes = 0; passes < 5; passes += 1) await pass();
    expect(takeNew()).toEqual([]);
    vi.advanceTimersByTime(CADENCE_MS);
    await pass();
    expect(takeNew()).toEqual([5]);
  });

  it('never passes a message that was claimed and has not left the outbox', async () => {
    await flow(45, 1_000, false);
    shard.commit(false, 2_000, 2_001);
    isDown = true;
    await expect(pass()).rejects.toThrow(StoreUnavailableError);
    vi.advanceTimersByTime(5 * LAG_MS);
    await expect(pass()).rejects.toThrow(StoreUnavailableError);
    isDown = false;
    await pass();
    expect(takeNew()).toEqual([2_000, 2_001]);
    expect(shard.rows.size).toBe(0);
  });

  it('is forgotten when the lease ends between claim and publish, and what was claimed is found again', async () => {
    await flow(45, 1_000, false);
    shard.commit(false, 5);
    vi.advanceTimersByTime(CADENCE_MS);
    isHeld = false;
    await pass();
    expect(takeNew()).toEqual([]);
    isHeld = true;
    await pass();
    expect(lastAfter()).toBeUndefined();
    expect(takeNew()).toEqual([5]);
  });

  it('is forgotten with the lease: another owner may have left anything anywhere', async () => {
    await flow(45, 1_000, false);
    shard.commit(false, 5);
    lease = leaseOf();
    await pass();
    expect(takeNew()).toEqual([5]);
    expect(shard.requests.at(-1)).toMatchObject({ patient: true });
  });

  it('costs no lease, however long the claim from the beginning takes', async () => {
    shard.commit(true, 1);
    shard.during = () =>
      eventually(() => expect(renewals).toBeGreaterThanOrEqual(2), { timeoutMs: 10_000, intervalMs: 50 });
    await pass();
    expect(takeNew()).toEqual([1]);
  });

  it('is forgotten when a claim fails, which may have been done all the same', async () => {
    await flow(45, 1_000, false);
    shard.failure = unavailable();
    shard.commit(false, 5);
    await expect(pass()).rejects.toThrow(StoreUnavailableError);
    shard.failure = undefined;
    await pass();
    expect(takeNew()).toEqual([5]);
  });

  it('is forgotten when what is over cannot be settled, and that is published again', async () => {
    await flow(45, 1_000, false);
    shard.commit(false, 2_000);
    shard.settleFailure = unavailable();
    await expect(pass()).rejects.toThrow(StoreUnavailableError);
    shard.settleFailure = undefined;
    await pass();
    expect(takeNew()).toEqual([2_000, 2_000]);
    await pass();
    expect(lastAfter()).toBeUndefined();
    expect(shard.rows.size).toBe(0);
  });
});
