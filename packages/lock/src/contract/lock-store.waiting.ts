import { monotonicMs } from '@lockstep/core';
import { expect, it } from 'vitest';
import { type Fact, LONG_MS, type LockStoreHarness, Subject } from './subject.js';

/** Who gave up tells the backend after the caller knows; a release on another connection may come before that. */
const TELLING_MS = 1_000;

export function describeWaiting(subject: Subject): void {
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
    await subject.hold({ key: holder.key, waitMs: TELLING_MS });
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
    await subject.hold({ key: holder.key, waitMs: TELLING_MS });
  });

  it('takes nothing when the signal had aborted before', async () => {
    const key = subject.key();
    const reason = new Error('too late');
    await expect(subject.ask(key, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await subject.hold({ key });
  });
}

export function describeQueue(subject: Subject, fact: Fact): void {
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

export function describeClosing(harness: LockStoreHarness): void {
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
