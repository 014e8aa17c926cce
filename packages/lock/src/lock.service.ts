import { randomUUID } from 'node:crypto';
import {
  checkpoint,
  count,
  DrainService,
  Incidents,
  isLockstepError,
  monotonicMs,
  StoreUnavailableError,
  withSpan,
} from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { isHeldByCaller, runUnderLease } from './lease/current-lease.js';
import { HeldLease } from './lease/held-lease.js';
import { HeldLeases } from './lease/held-leases.js';
import type { Lease } from './lease/lease.js';
import { type LeaseLoss, LockBusyError, LockReentryError, LockShuttingDownError } from './lock.errors.js';
import { LOCK_DEFAULTS, type LockOptions, type LockTimes, resolveLockOptions } from './lock.options.js';
import { assertLockKey } from './lock-key.js';
import { type Busy, LOCK_STORE, type LockStore } from './lock-store.js';

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
export class LockService {
  private readonly leases: HeldLeases;
  private readonly attributes: { readonly store: string };
  private isClosing = false;

  constructor(
    @Inject(LOCK_STORE) private readonly store: LockStore,
    @Inject(LOCK_DEFAULTS) private readonly defaults: LockTimes,
    @Inject(Incidents) incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.leases = new HeldLeases(store, incidents);
    this.attributes = { store: store.name };
    drain.register({ name: 'locks', phase: 'leases', drain: () => this.close() });
  }

  /**
   * Takes the lock, waiting for others at most `wait`. Release it, or let `await using` do so.
   *
   * @throws LockBusyError when somebody else still holds it
   * @throws StoreUnavailableError `not-applied` when the store does not answer: what it may still grant is taken back
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

  private async take(key: string, times: LockTimes, signal: AbortSignal | undefined): Promise<HeldLease | Busy> {
    assertLockKey(key);
    if (isHeldByCaller(key, this)) throw new LockReentryError(key, 'locks are not re-entrant');
    const giveUpAt = monotonicMs() + times.waitMs;
    for (;;) {
      if (this.isClosing) throw new LockShuttingDownError(key);
      const outcome = await this.ask(key, times.ttlMs, Math.max(giveUpAt - monotonicMs(), 0), signal);
      if (!(outcome instanceof HeldLease)) {
        if (this.isClosing) continue;
        return outcome;
      }
      if (this.keep(outcome)) return outcome;
      await outcome.release();
      if (!this.isClosing && monotonicMs() >= giveUpAt) throw lateGrant();
    }
  }

  private async ask(
    key: string,
    ttlMs: number,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<HeldLease | Busy> {
    const token = randomUUID();
    let lease: HeldLease | undefined;
    let lostBefore: LeaseLoss | undefined;
    const onLost = (cause: LeaseLoss): void => {
      lostBefore = cause;
      lease?.lose(cause);
    };
    const outcome = await this.store
      .acquire({ key, token, ttlMs, waitMs, capacity: 1, fairness: 'fifo', signal, onLost })
      .catch(notTaken);
    if (outcome.status === 'busy') return outcome;
    lease = new HeldLease(key, token, ttlMs, outcome, this.leases);
    if (lostBefore) lease.lose(lostBefore);
    return lease;
  }

  /** False when the grant took longer to arrive than its lease lasts, or nobody may keep it any longer. */
  private keep(lease: HeldLease): boolean {
    if (this.isClosing || !lease.isHeld()) return false;
    this.leases.add(lease);
    count('lockstep.lock.acquired', this.attributes);
    checkpoint('lock.acquired');
    return true;
  }

  private async close(): Promise<void> {
    this.isClosing = true;
    await this.leases.releaseAll();
    await this.store.close();
  }
}

function lateGrant(): StoreUnavailableError {
  return unavailable(new Error('the grant arrived after its lease had ended'));
}

/**
 * What the store executed of a request whose answer was lost is between it and its backend; for whoever wanted the
 * lock nothing has happened, and an idempotency outside must not take the guarded work for half done.
 */
function notTaken(cause: unknown): never {
  if (!isLockstepError(cause)) throw cause;
  throw cause.kind === 'unknown' || cause.fields.outcome === 'unknown' ? unavailable(cause) : cause;
}

function unavailable(cause: unknown): StoreUnavailableError {
  const store = String((isLockstepError(cause) && cause.fields.store) || 'lock');
  return new StoreUnavailableError({ store, operation: 'lock.acquire', outcome: 'not-applied', cause });
}
