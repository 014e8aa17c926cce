import { randomUUID } from 'node:crypto';
import {
  checkpoint,
  count,
  DrainService,
  Incidents,
  monotonicMs,
  StoreUnavailableError,
  withSpan,
} from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { isHeldByCaller, runUnderLease } from './lease/current-lease.js';
import { Heartbeat } from './lease/heartbeat.js';
import { HeldLease, type LeaseKeeper } from './lease/held-lease.js';
import type { Lease } from './lease/lease.js';
import { type LeaseLoss, LockBusyError, LockReentryError, LockShuttingDownError } from './lock.errors.js';
import { LOCK_DEFAULTS, type LockOptions, type LockTimes, resolveLockOptions } from './lock.options.js';
import { assertLockKey } from './lock-key.js';
import { type AcquireRequest, type Busy, LOCK_STORE, type LockStore } from './lock-store.js';

/**
 * Locks with one holder at a time.
 *
 * ```
 * acquiring --granted--> held --work done--> released
 *           --wait over--> busy            --deadline, stolen, store silent--> lost --work done--> LockLostError
 *           --store silent--> unavailable  --shutdown--> lost
 * ```
 * Exclusion rests on time: a holder that stands still beyond its lease may run beside its successor for a moment,
 * without knowing. The lease tells as soon as it can; only the fence, checked where the data is, makes it harmless.
 */
@Injectable()
export class LockService implements LeaseKeeper {
  private readonly heartbeat: Heartbeat;
  private isClosing = false;

  constructor(
    @Inject(LOCK_STORE) private readonly store: LockStore,
    @Inject(LOCK_DEFAULTS) private readonly defaults: LockTimes,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.heartbeat = new Heartbeat(store, incidents);
    drain.register({ name: 'locks', phase: 'leases', drain: () => this.close() });
  }

  /**
   * Takes the lock, waiting for others at most `wait`. Release it, or let `await using` do so.
   *
   * @throws LockBusyError when somebody else still holds it
   * @throws StoreUnavailableError when the store does not answer
   * @throws LockReentryError when the calling code runs under this lock already
   * @throws LockKeyError before anything is sent
   * @throws the signal's reason once it aborts
   */
  async acquire(key: string, options: LockOptions = {}): Promise<Lease> {
    const startedAt = monotonicMs();
    const outcome = await this.take(key, resolveLockOptions(options, this.defaults), options.signal);
    if (outcome instanceof HeldLease) return outcome;
    throw new LockBusyError(key, monotonicMs() - startedAt, outcome.remainingMs);
  }

  /** Like {@link acquire}, but does not wait unless told to, and answers undefined when the lock is held. */
  async tryAcquire(key: string, options: LockOptions = {}): Promise<Lease | undefined> {
    const outcome = await this.take(key, resolveLockOptions({ wait: 0, ...options }, this.defaults), options.signal);
    return outcome instanceof HeldLease ? outcome : undefined;
  }

  /**
   * Runs `fn` under the lock and releases it. An error of `fn` passes through as it is.
   *
   * @throws LockLostError when `fn` succeeded but the lock had been lost; `result` is what it returned
   * @throws as {@link acquire}
   */
  async using<T>(key: string, options: LockOptions, fn: (lease: Lease) => Promise<T>): Promise<T> {
    return withSpan('lockstep.lock', { 'lockstep.lock.key': key }, async () => {
      const lease = await this.acquire(key, options);
      let result: T;
      try {
        result = await runUnderLease(lease, this, async () => fn(lease));
      } finally {
        await lease.release();
      }
      if (lease instanceof HeldLease && lease.loss) throw lease.lostError(result);
      return result;
    });
  }

  /** Part of {@link LeaseKeeper}: call it on the lease. */
  async extend(lease: HeldLease): Promise<void> {
    lease.assertHeld();
    const outcome = await this.heartbeat.extendNow(lease);
    lease.assertHeld();
    if (outcome?.status === 'failed') throw outcome.error;
  }

  /** Part of {@link LeaseKeeper}: call it on the lease. */
  async release(lease: HeldLease): Promise<void> {
    if (!lease.markReleased()) return;
    this.heartbeat.remove(lease);
    checkpoint('lock.release', { key: lease.key });
    await this.giveBack([lease]);
  }

  private async take(key: string, times: LockTimes, signal: AbortSignal | undefined): Promise<HeldLease | Busy> {
    assertLockKey(key);
    if (isHeldByCaller(key, this)) throw new LockReentryError(key);
    const giveUpAt = monotonicMs() + times.waitMs;
    for (;;) {
      if (this.isClosing) throw new LockShuttingDownError(key);
      const waitMs = Math.max(giveUpAt - monotonicMs(), 0);
      const outcome = await this.ask({ key, token: randomUUID(), ttlMs: times.ttlMs, waitMs, signal });
      if (!(outcome instanceof HeldLease)) {
        if (this.isClosing) continue;
        return outcome;
      }
      if (this.keep(outcome)) return outcome;
      await outcome.release();
      if (!this.isClosing && monotonicMs() >= giveUpAt) throw lateGrant();
    }
  }

  private async ask(request: Omit<AcquireRequest, 'onLost'>): Promise<HeldLease | Busy> {
    const { key, token, ttlMs } = request;
    let lease: HeldLease | undefined;
    let lostBefore: LeaseLoss | undefined;
    const onLost = (cause: LeaseLoss): void => {
      lostBefore = cause;
      lease?.lose(cause);
    };
    const outcome = await this.store.acquire({ ...request, onLost });
    if (outcome.status === 'busy') return outcome;
    lease = new HeldLease(key, token, ttlMs, outcome, this);
    if (lostBefore) lease.lose(lostBefore);
    return lease;
  }

  /** False when the grant took longer to arrive than its lease lasts, or nobody may keep it any longer. */
  private keep(lease: HeldLease): boolean {
    if (this.isClosing || !lease.isHeld()) return false;
    this.heartbeat.add(lease);
    count('lockstep.lock.acquired', { store: this.store.name });
    checkpoint('lock.acquired', { key: lease.key, fence: lease.fence });
    return true;
  }

  /** A lease that the store knows to be another's is left alone; every other is given back, lost or not. */
  private async giveBack(leases: readonly HeldLease[]): Promise<void> {
    const own = leases.filter((lease) => lease.loss !== 'stolen');
    const outcomes = await this.store.release(own.map(({ key, token, deadline }) => ({ key, token, deadline })));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'not-held') own[index]?.lose('stolen');
      if (outcome.status === 'failed') this.reportNotReleased(outcome.error);
    }
  }

  private reportNotReleased(cause: unknown): void {
    this.incidents.report({
      code: 'LOCK_NOT_RELEASED',
      source: 'lock.service',
      message: 'a lock could not be given back; others wait until its lease ends',
      cause,
    });
  }

  private async close(): Promise<void> {
    this.isClosing = true;
    const held = this.heartbeat.held;
    this.heartbeat.stop();
    for (const lease of held) lease.lose('shutdown');
    await this.giveBack(held);
    await this.store.close();
  }
}

function lateGrant(): StoreUnavailableError {
  const cause = new Error('the grant arrived after its lease had ended');
  return new StoreUnavailableError({ store: 'lock', operation: 'lock.acquire', outcome: 'not-applied', cause });
}
