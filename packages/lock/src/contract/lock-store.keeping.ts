import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { expect, it, vi } from 'vitest';
import { type Fact, fenceOf, LONG_MS, POLL, type Subject } from './subject.js';

export function describeExtension(subject: Subject): void {
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

export function describeExpiry(subject: Subject, fact: Fact): void {
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
    await vi.waitFor(() => expect(monotonicMs()).toBeGreaterThan(holder.deadline + 150), POLL);
    expect(await subject.extend(holder, LONG_MS)).toMatchObject({ status: 'lost' });
  });
}
