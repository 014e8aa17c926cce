import { monotonicMs } from '@lockstep/core';
import { expect, it } from 'vitest';
import { type Fact, factIf, fenceOf, LONG_MS, type LockStoreHarness, type Subject } from './subject.js';

const WIRE_DELAY_MS = 150;

export function describeGrants(subject: Subject, leaseFact: Fact): void {
  it('grants a lock to exactly one of many concurrent callers', async () => {
    const key = subject.key();
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, n) => subject.ask(key, {}, n % 2 === 1)));
    expect(outcomes.filter(({ status }) => status === 'granted')).toHaveLength(1);
  });

  leaseFact('tells a busy caller how much of the lease is left', async () => {
    const { key } = await subject.hold({ ttlMs: LONG_MS });
    const outcome = await subject.ask(key);
    expect(outcome.status === 'busy' && outcome.remainingMs).toBeGreaterThan(LONG_MS - 5_000);
    expect(outcome.status === 'busy' && outcome.remainingMs).toBeLessThanOrEqual(LONG_MS);
  });

  it('keeps keys apart, whatever characters they hold', async () => {
    const base = subject.key();
    const keys = ['', '{', '}', '{}', '}{', '%', '%7d', ':', '|', ' ', 'ü', '🔒', 'x'.repeat(400)].map(
      (end) => base + end,
    );
    for (const key of keys) await subject.hold({ key, ttlMs: LONG_MS });
  });
}

/** Holds answers back for a while, which a deadline must not gain by. */
export function describeAnchor(subject: Subject, delayWire: LockStoreHarness['delayWire']): void {
  const fact = factIf(delayWire !== undefined, 'nothing stands between it and its backend');
  fact('anchors the deadline before the request was sent, of a grant and of an extension', async () => {
    const held = await subject.hold({ ttlMs: LONG_MS });
    const undo = await delayWire?.(WIRE_DELAY_MS);
    try {
      const grant = await later(() => subject.hold({ ttlMs: LONG_MS }));
      expect(grant.deadline).toBeLessThan(grant.startedAt + LONG_MS + WIRE_DELAY_MS);
      const extension = await later(async () => {
        const [outcome] = await subject.store.extend([{ ...held, ttlMs: LONG_MS }]);
        return outcome?.status === 'extended' ? outcome : { deadline: 0 };
      });
      expect(extension.deadline).toBeGreaterThan(extension.startedAt);
      expect(extension.deadline).toBeLessThan(extension.startedAt + LONG_MS + WIRE_DELAY_MS);
    } finally {
      await undo?.();
    }
  });
}

/** @throws unless it takes the delay in both directions: what was not delayed shows nothing */
async function later<T>(work: () => Promise<T>): Promise<T & { readonly startedAt: number }> {
  const startedAt = monotonicMs();
  const outcome = await work();
  expect(monotonicMs() - startedAt).toBeGreaterThanOrEqual(WIRE_DELAY_MS * 2 - 2);
  return { ...outcome, startedAt };
}

export function describeFences(subject: Subject, fact: Fact): void {
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

export function describePrefix(subject: Subject): void {
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
