import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { AcquireRequest, Busy, Grant, LockStore } from '../lock-store.js';

export interface LockStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens stores on one backend: two where several processes can share it, else the same one twice. */
  open(): Promise<{ readonly store: LockStore; readonly rival: LockStore; close?(): Promise<void> }>;
  /**
   * Whether a holder that stopped extending loses the lock when its lease is over. Backends that tie a lock to a
   * session do not have it.
   * @default true
   */
  readonly expires?: boolean;
}

const LEASE_MS = 400;
const LONG_MS = 30_000;
const POLL = { timeout: 5_000, interval: 20 };

/** What every driver of {@link LockStore} must keep. Call it at the top of a spec file. */
export function describeLockStoreContract(harness: LockStoreHarness): void {
  describe(`LockStore contract: ${harness.name}`, () => {
    const subject = new Subject();
    beforeAll(async () => subject.open(harness));
    afterAll(async () => subject.close());

    describeGrants(subject);
    describeWaiting(subject);
    describeExtension(subject);
    describeRelease(subject);
    describeExpiry(subject, harness.expires ?? true);
    describeClosing(harness);
  });
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

  it('gives the holder that asks again the same fence', async () => {
    const { key, token, fence } = await subject.hold({ ttlMs: LONG_MS });
    expect(await subject.ask(key, { token })).toMatchObject({ status: 'granted', fence });
  });

  it('raises the fence with every grant', async () => {
    const key = subject.key();
    let last = 0n;
    for (let n = 0; n < 5; n += 1) {
      const grant = await subject.hold({ key });
      expect(grant.fence).toBeGreaterThan(last);
      last = grant.fence;
      await subject.release(grant);
    }
  });

  it('keeps keys apart, whatever characters they hold', async () => {
    const base = subject.key();
    const keys = ['', '{', '}', '{}', '}{', '%', '%7d', ':', '|', ' ', 'ü', '🔒', 'x'.repeat(400)].map(
      (end) => base + end,
    );
    for (const key of keys) await subject.hold({ key, ttlMs: LONG_MS });
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
    expect(grant.status === 'granted' && grant.fence).toBeGreaterThan(holder.fence);
    expect(monotonicMs() - releasedAt).toBeLessThan(2_000);
  });

  it('serves every waiter in the end', async () => {
    const holder = await subject.hold({ ttlMs: LONG_MS });
    const served = Array.from({ length: 10 }, async (_, n) => {
      const grant = await subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, n % 2 === 1);
      await subject.release(grant, n % 2 === 1);
      return grant.fence;
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
    const holder = await subject.hold({ ttlMs: LEASE_MS });
    const until = monotonicMs() + LEASE_MS * 2;
    await vi.waitFor(async () => {
      expect(await subject.extend(holder, LEASE_MS)).toMatchObject({ status: 'extended' });
      expect(await subject.ask(holder.key, {}, true)).toMatchObject({ status: 'busy' });
      expect(monotonicMs()).toBeGreaterThan(until);
    }, POLL);
  });

  it('tells who extends a lock of another that it is lost', async () => {
    const { key } = await subject.hold({ ttlMs: LONG_MS });
    const [outcome] = await subject.store.extend([{ key, token: randomUUID(), ttlMs: LONG_MS }]);
    expect(outcome).toEqual({ status: 'lost', cause: 'stolen' });
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

function describeExpiry(subject: Subject, expires: boolean): void {
  const fact = expires ? it : it.skip;

  fact('gives the lock to a waiter when the lease of a silent holder is over, and not before', async () => {
    const startedAt = monotonicMs();
    const holder = await subject.hold({ ttlMs: LEASE_MS });
    const next = await subject.hold({ key: holder.key, waitMs: LONG_MS }, true);
    expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(LEASE_MS - 2);
    expect(next.fence).toBeGreaterThan(holder.fence);
  });

  fact('does not let a holder that comes back touch its successor', async () => {
    const holder = await subject.hold({ ttlMs: LEASE_MS });
    const next = await subject.hold({ key: holder.key, waitMs: LONG_MS, ttlMs: LONG_MS }, true);
    expect(await subject.extend(holder, LONG_MS)).toEqual({ status: 'lost', cause: 'stolen' });
    expect(await subject.release(holder)).toEqual({ status: 'not-held' });
    expect(await subject.extend(next, LONG_MS)).toMatchObject({ status: 'extended' });
  });

  fact('does not revive a lease that is over, even if nobody took the lock', async () => {
    const holder = await subject.hold({ ttlMs: LEASE_MS });
    await vi.waitFor(() => expect(monotonicMs()).toBeGreaterThan(holder.deadline + 5), POLL);
    expect(await subject.extend(holder, LONG_MS)).toMatchObject({ status: 'lost' });
  });
}

function describeClosing(harness: LockStoreHarness): void {
  it('ends the waiting when it is closed', async () => {
    const own = new Subject();
    await own.open(harness);
    const holder = await own.hold({ ttlMs: LONG_MS });
    const waiter = own.ask(holder.key, { waitMs: LONG_MS }, true);
    await own.settle(waiter);
    await own.close();
    expect((await waiter).status).toBe('busy');
  });
}

type Held = Grant & { readonly key: string; readonly token: string };

/** The stores under test, with short ways to say what is done to them. */
class Subject {
  private opened: Awaited<ReturnType<LockStoreHarness['open']>> | undefined;

  async open(harness: LockStoreHarness): Promise<void> {
    this.opened = await harness.open();
  }

  async close(): Promise<void> {
    if (!this.opened) return;
    await this.opened.store.close();
    await this.opened.rival.close();
    await this.opened.close?.();
    this.opened = undefined;
  }

  get store(): LockStore {
    return this.side(false);
  }

  key(): string {
    return `contract:${randomUUID()}`;
  }

  ask(key: string, request: Partial<AcquireRequest> = {}, asRival = false): Promise<Grant | Busy> {
    const { token = randomUUID(), ttlMs = LEASE_MS * 5, waitMs = 0, signal } = request;
    return this.side(asRival).acquire({ key, token, ttlMs, waitMs, signal });
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

  private side(asRival: boolean): LockStore {
    if (!this.opened) throw new Error('the store is not open');
    return asRival ? this.opened.rival : this.opened.store;
  }
}
