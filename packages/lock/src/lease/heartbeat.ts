import { type Incidents, isLockstepError, monotonicMs } from '@lockstep/core';
import type { ExtendOutcome, LockStore, StoreLoss } from '../lock-store.js';
import type { HeldLease } from './held-lease.js';
import { outsideLeases } from './outside-leases.js';
import { extendAt } from './store-calls.js';

/** Leases that fall due within this share of their length travel with those that are due. */
const COMPANY = 1 / 12;
/** Pause after an extension that failed, as a share of the lease. */
const RETRY = 1 / 20;
const LONGEST_TIMER_MS = 2_147_483_647;

/**
 * Keeps all leases of a process alive with one timer: extends each at a third of its length, those of about the same
 * time in one call, and tells each of its loss at its deadline. A failed extension is repeated until the deadline.
 */
export class Heartbeat {
  private readonly leases = new Set<HeldLease>();
  private timer: NodeJS.Timeout | undefined;
  private firesAt = Number.POSITIVE_INFINITY;

  constructor(
    private readonly store: LockStore<bigint | undefined>,
    private readonly incidents: Incidents,
    private readonly onExtended: (lease: HeldLease) => void,
  ) {}

  get held(): readonly HeldLease[] {
    return [...this.leases];
  }

  add(lease: HeldLease): void {
    this.leases.add(lease);
    this.arm(dueAt(lease));
  }

  remove(lease: HeldLease): void {
    this.leases.delete(lease);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.leases.clear();
  }

  /** One extension now; its outcome, which the lease knows already. */
  async extendNow(lease: HeldLease): Promise<ExtendOutcome | undefined> {
    const [outcome] = await this.extend([lease]);
    return outcome;
  }

  private arm(at: number): void {
    if (at >= this.firesAt) return;
    clearTimeout(this.timer);
    this.firesAt = at;
    const pauseMs = Math.min(Math.max(Math.ceil(at - monotonicMs()), 1), LONGEST_TIMER_MS);
    this.timer = outsideLeases(() => setTimeout(() => this.beat(), pauseMs)).unref();
  }

  private beat(): void {
    this.firesAt = Number.POSITIVE_INFINITY;
    const now = monotonicMs();
    const due: HeldLease[] = [];
    for (const lease of this.leases) {
      if (!lease.isHeld()) this.leases.delete(lease);
      else if (lease.extensions === 0 && lease.extendAt <= now + lease.leaseMs * COMPANY) due.push(lease);
    }
    if (due.some((lease) => lease.extendAt <= now)) void this.extend(due);
    let next = Number.POSITIVE_INFINITY;
    for (const lease of this.leases) next = Math.min(next, dueAt(lease));
    this.arm(next);
  }

  private async extend(leases: readonly HeldLease[]): Promise<readonly ExtendOutcome[]> {
    for (const lease of leases) lease.extensions += 1;
    const outcomes = await extendAt(
      this.store,
      leases.map(({ key, token, ttlMs }) => ({ key, token, ttlMs })),
    );
    for (const [index, lease] of leases.entries()) {
      lease.extensions -= 1;
      const outcome = outcomes[index];
      if (outcome && this.leases.has(lease)) this.apply(lease, outcome);
    }
    return outcomes;
  }

  /** A lease that was released or lost meanwhile is no longer in the set, and hears nothing. */
  private apply(lease: HeldLease, outcome: ExtendOutcome): void {
    if (!lease.isHeld()) return;
    if (outcome.status === 'extended') this.prolong(lease, outcome.deadline);
    else if (outcome.status === 'lost') this.lose(lease, outcome.cause);
    else this.retry(lease, outcome.error);
    this.arm(dueAt(lease));
  }

  private prolong(lease: HeldLease, deadline: number): void {
    lease.prolong(deadline);
    this.onExtended(lease);
  }

  private lose(lease: HeldLease, cause: StoreLoss): void {
    this.leases.delete(lease);
    lease.lose(cause);
  }

  private retry(lease: HeldLease, cause: unknown): void {
    lease.isStoreSilent = true;
    lease.extendAt = monotonicMs() + lease.leaseMs * RETRY;
    this.incidents.report({
      code: 'LOCK_NOT_EXTENDED',
      source: 'lock.heartbeat',
      message: 'a lease could not be extended; it is tried again until the lease ends',
      cause,
      fields: isLockstepError(cause) ? { error: cause.code } : {},
    });
  }
}

function dueAt(lease: HeldLease): number {
  return lease.extensions > 0 ? lease.deadline : Math.min(lease.extendAt, lease.deadline);
}
