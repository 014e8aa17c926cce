import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { AcquireRequest, Busy, Grant, LockState, LockStore, StoreAbilities } from '../lock-store.js';

type AnyLockStore = LockStore<bigint | undefined>;
type AnyGrant = Grant<bigint | undefined>;

export interface LockStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens stores on one backend: two where several processes can share it, else the same one twice. */
  open(): Promise<{ readonly store: AnyLockStore; readonly rival: AnyLockStore; close?(): Promise<void> }>;
  /** What the store says of itself; facts that it does not claim are reported as skipped. */
  readonly abilities: StoreAbilities;
  /**
   * Whether its fences rise, or are `undefined`.
   * @default true
   */
  readonly fences?: boolean;
  /**
   * How long a short lease is; longer for a backend whose own times are.
   * @default 400
   */
  readonly leaseMs?: number;
}

const LONG_MS = 30_000;
const POLL = { timeout: 5_000, interval: 20 };

/** What every driver of {@link LockStore} must keep. Call it at the top of a spec file. */
export function describeLockStoreContract(harness: LockStoreHarness): void {
  describe(`LockStore contract: ${harness.name}`, () => {
    const { abilities } = harness;
    const subject = new Subject(harness);
    beforeAll(() => subject.open());
    afterAll(() => subject.close());

    it('says of itself what the suite was told', () => expect(subject.store.abilities).toEqual(abilities));
    describeGrants(subject);
    describeFences(subject, factIf(harness.fences ?? true, 'it promises no fences'));
    describePrefix(subject);
    describeWaiting(subject);
    describeQueue(subject, factIf(abilities.queues, 'it does not queue'));
    describeReaders(subject, factIf(abilities.shares !== 'none', 'it does not share'));
    describePermits(subject, factIf(abilities.shares === 'any', 'it has no permits'));
    describeExtension(subject);
    describeRelease(subject);
    describeInspection(subject);
    describeExpiry(subject, factIf(abilities.expires, 'its locks end with a session'));
    describeClosing(harness);
  });
}

type Fact = (name: string, test: () => Promise<void>) => void;

/** `it`, or the same fact as a skipped one that says why. */
function factIf(isClaimed: boolean, reason: string): Fact {
  if (isClaimed) return (name, test) => it(name, test);
  return (name) => it.skip(`${name} [skipped: ${reason}]`, () => undefined);
}

function describeGrants(subject: Subject): void {
  it('grants a lock to exactly one of many concurrent callers', async () => {
    const key = subject.key();
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, n) => subject.ask(key, {}, n % 2 === 1)));
    expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(1);
  });

  it('tells a busy caller how much of the lease is left', async () => {
    const { key } = await subject.hold({ ttlMs: LONG_MS });
    const outcome = await subject.ask(key);
    expect(outcome.status === 'busy' && outcome.remainingMs).toBeGreaterThan(LONG_MS - 5_000);
    expect(outcome.status === 'busy' && outcome.remainingMs).toBeLessThanOrEqual(LONG_MS);
  });

  it('anchors the deadline before the request was sent', async () => {
    const before = monotonicMs();
    const grant = await subject.hold({ ttlMs: LONG_MS });
    expect(grant.deadline).toBeLessThanOrEqual(before + LONG_MS + (monotonicMs() - before));
    expect(grant.deadline).toBeGreaterThan(before);
  });

  it('keeps keys apart, whatever characters they hold', async () => {
    const base = subject.key();
    const keys = ['', '{', '}', '{}', '}{', '%', '%7d', ':', '|', ' ', 'ü', '🔒', 'x'.repeat(400)].map(
      (end) => base + end,
    );
    for (const key of keys) await subject.hold({ key, ttlMs: LONG_MS });
  });
}

function describeFences(subject: Subject, fact: Fact): void {
  fact('gives the holder that asks again the same fence', async () => {
    const { key, token, fence } = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.ask(key, { token })).toMatchObject({ status: 'granted', fence });
  });

  fact('raises the fence with every grant', async () => {
    const key = subject.key();
    let last = 0n;
    for (let n = 0; n < 5; n += 1) {
      const grant = await subject.hold({ key });
      const fence = fenceOf(grant);
      expect(fence).toBeGreaterThan(last);
      last = fence;
      await subject.release(grant);
    }
  });

  fact('raises the fence also for who waited', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const waiter = subject.hold({ key: holder.key, waitMs: LONG_MS }, true);
    await subject.settle(waiter);
    await subject.release(holder);
    expect(fenceOf(await waiter)).toBeGreaterThan(fenceOf(holder));
  });
}

function describePrefix(subject: Subject): void {
  it('grants several keys in their order up to the first that is busy, or says that it cannot', async () => {
    const [first, busy, last] = [subject.key(), subject.key(), subject.key()];
    await subject.hold({ key: busy, ttlMs: LONG_MS }, true);
    const outcomes = await subject.prefix([first, busy, last]);
    if (outcomes === undefined) return;
    expect(outcomes.map(({ status }) => status)).toEqual(['granted', 'busy']);
    expect(await subject.ask(first, {}, true)).toMatchObject({ status: 'busy' });
    await subject.hold({ key: last }, true);
  });

  it('grants all of several free keys', async () => {
    const keys = Array.from({ length: 5 }, () => subject.key());
    const outcomes = await subject.prefix(keys);
    if (outcomes === undefined) return;
    expect(outcomes.map(({ status }) => status)).toEqual(keys.map(() => 'granted'));
  });
}

function describeQueue(subject: Subject, fact: Fact): void {
  fact('serves those who wait in the order of their coming', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const served: number[] = [];
    const waiters: Promise<void>[] = [];
    for (const n of [0, 1, 2, 3, 4]) {
      const side = n % 2 === 1;
      const waiter = subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, side);
      waiters.push(
        waiter.then(async (held) => {
          served.push(n);
          await subject.release(held, side);
        }),
      );
      await subject.settle(waiter);
    }
    await subject.release(holder);
    await Promise.all(waiters);
    expect(served).toEqual([0, 1, 2, 3, 4]);
  });

  fact('does not let a newcomer overtake those who wait', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const waiter = subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    await subject.settle(waiter);
    await subject.release(holder);
    expect(await subject.ask(holder.key)).toMatchObject({ status: 'busy' });
    await subject.release(await waiter, true);
  });

  fact('passes over one that gave up, to the next that waits', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const controller = new AbortController();
    const gone = subject.ask(holder.key, { waitMs: LONG_MS, signal: controller.signal }, true);
    await subject.settle(gone);
    const next = subject.hold({ key: holder.key, waitMs: LONG_MS });
    await subject.settle(next);
    controller.abort(new Error('the client left'));
    await expect(gone).rejects.toThrow('the client left');
    const releasedAt = monotonicMs();
    await subject.release(holder);
    await next;
    expect(monotonicMs() - releasedAt).toBeLessThan(2_000);
  });
}

function describeReaders(subject: Subject, fact: Fact): void {
  const reader = { capacity: Number.POSITIVE_INFINITY, ttlMs: LONG_MS };

  fact('lets readers in together, and no writer beside them', async () => {
    const first = await subject.hold(reader);
    const second = await subject.hold({ ...reader, key: first.key }, true);
    expect(await subject.ask(first.key)).toMatchObject({ status: 'busy' });
    await subject.release(first);
    expect(await subject.ask(first.key)).toMatchObject({ status: 'busy' });
    await subject.release(second, true);
    await subject.hold({ key: first.key });
  });

  fact('lets no reader in beside a writer', async () => {
    const writer = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.ask(writer.key, reader, true)).toMatchObject({ status: 'busy' });
  });

  fact('lets all readers in when the writer before them is done', async () => {
    const writer = await subject.hold({ ttlMs: LONG_MS });
    const readers = [false, true, false].map((side) =>
      subject.hold({ ...reader, key: writer.key, waitMs: LONG_MS }, side),
    );
    for (const waiting of readers) await subject.settle(waiting);
    await subject.release(writer);
    expect(await Promise.all(readers)).toHaveLength(3);
  });

  fact('does not let readers starve a writer that waits', async () => {
    const first = await subject.hold(reader);
    const writer = subject.hold({ key: first.key, waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    await subject.settle(writer);
    expect(await subject.ask(first.key, reader)).toMatchObject({ status: 'busy' });
    await subject.release(first);
    await subject.release(await writer, true);
    await subject.hold({ ...reader, key: first.key });
  });
}

function describePermits(subject: Subject, fact: Fact): void {
  const permit = { capacity: 2, ttlMs: LONG_MS };

  fact('gives out as many permits as there are, and one more when one comes back', async () => {
    const first = await subject.hold(permit);
    await subject.hold({ ...permit, key: first.key }, true);
    expect(await subject.ask(first.key, permit)).toMatchObject({ status: 'busy' });
    const next = subject.hold({ ...permit, key: first.key, waitMs: LONG_MS }, true);
    await subject.settle(next);
    await subject.release(first);
    await next;
    expect(await subject.ask(first.key, permit)).toMatchObject({ status: 'busy' });
  });

  fact('never gives out more permits than there are to many who ask at once', async () => {
    const key = subject.key();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) => subject.ask(key, { ...permit, capacity: 3 }, n % 2 === 1)),
    );
    expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(3);
  });
}

function describeInspection(subject: Subject): void {
  it('tells who holds a key and what its fence is, also to another process', async () => {
    const { key, token, fence } = await subject.hold({ ttlMs: LONG_MS });
    const state = await subject.inspect(key, true);
    expect(state.holders.map((holder) => holder.token)).toEqual([token]);
    if (state.fence !== undefined) expect(state.fence).toBe(fence);
  });

  it('tells that a key is free', async () => {
    const held = await subject.hold();
    await subject.release(held);
    expect(await subject.inspect(held.key)).toMatchObject({ holders: [], waiters: 0 });
    expect(await subject.inspect(subject.key())).toMatchObject({ holders: [], waiters: 0 });
  });

  it('lets an operator take the lock from whoever has it, and its holder learns so', async () => {
    const held = await subject.hold({ ttlMs: LONG_MS });
    const [holder] = (await subject.inspect(held.key, true)).holders;
    expect(await subject.release({ ...held, token: holder?.token ?? '' }, true)).toEqual({ status: 'released' });
    await subject.hold({ key: held.key }, true);
    expect(await subject.extend(held, LONG_MS)).toMatchObject({ status: 'lost' });
  });
}

function describeWaiting(subject: Subject): void {
  it('wakes a waiter when the lock is released, long before the lease ends', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const waiter = subject.ask(holder.key, { waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    await subject.settle(waiter);
    const releasedAt = monotonicMs();
    await subject.release(holder);
    const grant = await waiter;
    expect(grant.status).toBe('granted');
    expect(monotonicMs() - releasedAt).toBeLessThan(2_000);
  });

  it('serves every waiter in the end', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const served = Array.from({ length: 10 }, async (_, n) => {
      const grant = await subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, n % 2 === 1);
      await subject.release(grant, n % 2 === 1);
      return grant.token;
    });
    await subject.release(holder);
    expect(new Set(await Promise.all(served)).size).toBe(10);
  });

  it('gives up when the wait is over, and never owns the lock afterwards', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const startedAt = monotonicMs();
    const outcome = await subject.ask(holder.key, { waitMs: 100 }, true);
    expect(outcome.status).toBe('busy');
    expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(99);
    await subject.release(holder);
    await subject.hold({ key: holder.key });
  });

  it('lets a waiter go at once when its signal aborts, and never grants to it afterwards', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const controller = new AbortController();
    const reason = new Error('the client left');
    const waiter = subject.ask(holder.key, { waitMs: LONG_MS, signal: controller.signal }, true);
    await subject.settle(waiter);
    controller.abort(reason);
    await expect(waiter).rejects.toBe(reason);
    await subject.release(holder);
    await subject.hold({ key: holder.key });
  });

  it('takes nothing when the signal had aborted before', async () => {
    const key = subject.key();
    const reason = new Error('too late');
    await expect(subject.ask(key, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await subject.hold({ key });
  });
}

function describeExtension(subject: Subject): void {
  it('keeps a lock beyond its first lease while it is extended', async () => {
    const { leaseMs } = subject;
    const holder = await subject.hold({ ttlMs: leaseMs });
    const until = monotonicMs() + leaseMs * 2;
    await vi.waitFor(async () => {
      expect(await subject.extend(holder, leaseMs)).toMatchObject({ status: 'extended' });
      expect(await subject.ask(holder.key, {}, true)).toMatchObject({ status: 'busy' });
      expect(monotonicMs()).toBeGreaterThan(until);
    }, POLL);
  });

  it('tells who extends a lock of another that it is lost', async () => {
    const { key } = await subject.hold({ ttlMs: LONG_MS });
    const [outcome] = await subject.store.extend([{ key, token: randomUUID(), ttlMs: LONG_MS }]);
    expect(outcome).toMatchObject({ status: 'lost' });
  });

  it('extends many at once, each on its own', async () => {
    const held = [await subject.hold({ ttlMs: LONG_MS }), await subject.hold({ ttlMs: LONG_MS })];
    const [first, second] = held;
    if (!first || !second) throw new Error('two were taken');
    const strange = { key: first.key, token: randomUUID() };
    const outcomes = await subject.store.extend(
      [first, strange, second].map(({ key, token }) => ({ key, token, ttlMs: LONG_MS })),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['extended', 'lost', 'extended']);
  });
}

function describeRelease(subject: Subject): void {
  it('frees the lock for others', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.release(holder)).toEqual({ status: 'released' });
    await subject.hold({ key: holder.key }, true);
  });

  it('does nothing for a token that is not the owner', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.release({ ...holder, token: randomUUID() }, true)).toEqual({ status: 'not-held' });
    expect(await subject.ask(holder.key)).toMatchObject({ status: 'busy' });
  });

  it('answers a second release as not held', async () => {
    const holder = await subject.hold();
    await subject.release(holder);
    expect(await subject.release(holder)).toEqual({ status: 'not-held' });
  });

  it('releases many at once, each on its own', async () => {
    const first = await subject.hold({ ttlMs: LONG_MS });
    const second = await subject.hold({ ttlMs: LONG_MS });
    const outcomes = await subject.store.release([first, { ...first, token: randomUUID() }, second]);
    expect(outcomes.map(({ status }) => status)).toEqual(['released', 'not-held', 'released']);
  });
}

function describeExpiry(subject: Subject, fact: Fact): void {
  fact('gives the lock to a waiter when the lease of a silent holder is over, and not before', async () => {
    const startedAt = monotonicMs();
    const holder = await subject.hold({ ttlMs: subject.leaseMs });
    const next = await subject.hold({ key: holder.key, waitMs: LONG_MS }, true);
    expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(subject.leaseMs - 2);
    if (next.fence !== undefined) expect(next.fence).toBeGreaterThan(fenceOf(holder));
  });

  fact('does not let a holder that comes back touch its successor', async () => {
    const holder = await subject.hold({ ttlMs: subject.leaseMs });
    const next = await subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    expect(await subject.extend(holder, LONG_MS)).toEqual({ status: 'lost', cause: 'stolen' });
    expect(await subject.release(holder)).toEqual({ status: 'not-held' });
    expect(await subject.extend(next, LONG_MS)).toMatchObject({ status: 'extended' });
  });

  fact('does not revive a lease that is over, even if nobody took the lock', async () => {
    const holder = await subject.hold({ ttlMs: subject.leaseMs });
    await vi.waitFor(() => expect(monotonicMs()).toBeGreaterThan(holder.deadline + 5), POLL);
    expect(await subject.extend(holder, LONG_MS)).toMatchObject({ status: 'lost' });
  });
}

function describeClosing(harness: LockStoreHarness): void {
  it('ends the waiting when it is closed', async () => {
    const own = new Subject(harness);
    await own.open();
    const holder = await own.hold({ ttlMs: LONG_MS });
    const waiter = own.ask(holder.key, { waitMs: LONG_MS }, true);
    await own.settle(waiter);
    await own.close();
    expect((await waiter).status).toBe('busy');
  });
}

function fenceOf({ fence }: AnyGrant): bigint {
  if (fence === undefined) throw new Error('there is no fence');
  return fence;
}

type Held = AnyGrant & { readonly key: string; readonly token: string };

/** The stores under test, with short ways to say what is done to them. */
class Subject {
  readonly leaseMs: number;
  private opened: Awaited<ReturnType<LockStoreHarness['open']>> | undefined;

  constructor(private readonly harness: LockStoreHarness) {
    this.leaseMs = harness.leaseMs ?? 400;
  }

  async open(): Promise<void> {
    this.opened = await this.harness.open();
  }

  async close(): Promise<void> {
    if (!this.opened) return;
    await this.opened.store.close();
    await this.opened.rival.close();
    await this.opened.close?.();
    this.opened = undefined;
  }

  get store(): AnyLockStore {
    return this.side(false);
  }

  key(): string {
    return `contract:${randomUUID()}`;
  }

  ask(key: string, request: Partial<AcquireRequest> = {}, asRival = false): Promise<AnyGrant | Busy> {
    return this.side(asRival).acquire(this.request(key, request));
  }

  async prefix(keys: readonly string[]): Promise<readonly (AnyGrant | Busy)[] | undefined> {
    return this.store.acquirePrefix?.(keys.map((key) => this.request(key, { ttlMs: LONG_MS })));
  }

  inspect(key: string, asRival = false): Promise<LockState> {
    return this.side(asRival).inspect(key);
  }

  /** @throws unless the lock is granted */
  async hold(request: Partial<AcquireRequest> = {}, asRival = false): Promise<Held> {
    const { key = this.key(), token = randomUUID() } = request;
    const outcome = await this.ask(key, { ...request, token }, asRival);
    if (outcome.status === 'busy') throw new Error(`${key} is busy for ${outcome.remainingMs} ms`);
    return { ...outcome, key, token };
  }

  async extend(held: Held, ttlMs: number): Promise<unknown> {
    const [outcome] = await this.store.extend([{ key: held.key, token: held.token, ttlMs }]);
    return outcome;
  }

  async release(held: Held, asRival = false): Promise<unknown> {
    const [outcome] = await this.side(asRival).release([held]);
    return outcome;
  }

  /** Lets a request get as far as it can on its own; fails when it is answered already. */
  async settle(request: Promise<unknown>): Promise<void> {
    let isAnswered = false;
    const note = (): void => {
      isAnswered = true;
    };
    request.then(note, note);
    const until = monotonicMs() + 100;
    await vi.waitFor(() => expect(monotonicMs()).toBeGreaterThan(until), POLL);
    expect(isAnswered).toBe(false);
  }

  private request(key: string, request: Partial<AcquireRequest>): AcquireRequest {
    const defaults = {
      token: randomUUID(),
      ttlMs: this.leaseMs * 5,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo',
    } as const;
    return { ...defaults, ...request, key };
  }

  private side(asRival: boolean): AnyLockStore {
    if (!this.opened) throw new Error('the store is not open');
    return asRival ? this.opened.rival : this.opened.store;
  }
}
