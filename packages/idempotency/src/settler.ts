import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, isLockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { Execution } from './execution.js';
import { GrowingPause } from './growing-pause.js';
import type { Heartbeat } from './heartbeat.js';
import type { BeginRequest, IdempotencyStore, Settlement } from './idempotency-store.js';

const SOURCE = 'idempotency.settle';
/** An outage under load leaves many claims to take back; beyond this the policy of each decides. */
const MOST_PENDING = 10_000;

/**
 * Ends claims, and does not give up at the first refusal of the store.
 *
 * ```
 * running --settle--> settled
 * settle fails --> pending (the lease is still renewed) --store answers--> settled | not ours any more
 *                  pending --time over--> given up, reported: the policy of the operation decides
 * ```
 */
export class Settler {
  private readonly pending = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(
    private readonly store: IdempotencyStore,
    private readonly heartbeat: Heartbeat,
    private readonly incidents: Incidents,
  ) {
    // Everything pending listens while it pauses; an outage makes a lot pending, which is no leak.
    setMaxListeners(0, this.closing.signal);
  }

  /** Resolves after the first try; never rejects, because the caller's answer does not depend on it. */
  async settle(execution: Execution, settlement: Settlement): Promise<void> {
    execution.startSettling();
    try {
      await this.trySettle(execution, settlement);
    } catch (cause) {
      const message = `${execution.operation} is not yet stored as ${settlement.to}; trying again`;
      this.incidents.report({ code: 'SETTLEMENT_DELAYED', source: SOURCE, message, cause });
      this.keep(this.settleLater(execution, settlement));
    }
  }

  /**
   * Takes back a begin whose answer was lost: it may have been applied, or may still be within `applyWithinMs`, for a
   * handler that never runs. Where nobody else can take it over it would be uncertain for ever, so that the store has
   * `patienceMs` to come back.
   */
  takeBack(begin: BeginRequest, patienceMs: number): void {
    if (this.pending.size < MOST_PENDING) this.keep(this.takeBackLater(begin, patienceMs));
    else this.leaveBehind(begin, new Error(`${MOST_PENDING} others are waiting`));
  }

  /** Waits for what is pending, at most until the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.closing.abort();
    signal.addEventListener('abort', stop);
    // What fails to be stored meanwhile is pending too.
    while (this.pending.size > 0) await Promise.all(this.pending);
    signal.removeEventListener('abort', stop);
    this.closing.abort();
  }

  private async trySettle(execution: Execution, settlement: Settlement): Promise<void> {
    const isSettled = await this.store.settle(execution, settlement);
    this.heartbeat.remove(execution);
    if (isSettled) return;
    const message = `${execution.operation} ended as ${settlement.to}, but somebody else has it; the store keeps theirs`;
    this.incidents.report({ code: 'SETTLEMENT_REFUSED', source: SOURCE, message });
  }

  private async settleLater(execution: Execution, settlement: Settlement): Promise<void> {
    let last: unknown;
    for (const pause = new GrowingPause(); await this.rest(pause, settleUntil(execution)); ) {
      try {
        return await this.trySettle(execution, settlement);
      } catch (error) {
        last = error;
      }
    }
    this.heartbeat.remove(execution);
    const message = `${execution.operation} could not be stored as ${settlement.to} in time`;
    this.incidents.report({ code: 'SETTLEMENT_LOST', source: SOURCE, message, cause: last });
  }

  private async takeBackLater(begin: BeginRequest, patienceMs: number): Promise<void> {
    const { retentionMs, applyWithinMs, onLeaseExpiry } = begin;
    const settlement: Settlement = { to: 'released', notApplied: true, retentionMs };
    const appliesUntil = monotonicMs() + applyWithinMs;
    const until = appliesUntil + (onLeaseExpiry === 'retry' ? applyWithinMs : Math.max(applyWithinMs, patienceMs));
    let last: unknown;
    for (const pause = new GrowingPause(); await this.rest(pause, until); ) {
      const sentAt = monotonicMs();
      try {
        if ((await this.store.settle(begin, settlement)) || sentAt > appliesUntil) return;
      } catch (error) {
        last = error;
      }
    }
    this.leaveBehind(begin, last);
  }

  private leaveBehind({ operation }: BeginRequest, cause: unknown): void {
    const message = `a begin of ${operation} without an answer could not be taken back`;
    this.incidents.report({ code: 'CLAIM_LEFT_BEHIND', source: SOURCE, message, cause });
  }

  /** False when the time is over or the process ends. */
  private async rest(pause: GrowingPause, until: number): Promise<boolean> {
    const leftMs = until - monotonicMs();
    if (leftMs <= 0) return false;
    try {
      await sleep(Math.min(pause.next(), leftMs), undefined, { signal: this.closing.signal, ref: false });
      return true;
    } catch (error) {
      if (!this.closing.signal.aborted) throw error;
      return false;
    }
  }

  private keep(work: Promise<void>): void {
    this.pending.add(work);
    void work.finally(() => this.pending.delete(work));
  }
}

/** Where nobody else can take it over, the operation waits for its owner also beyond the lease, marked uncertain. */
function settleUntil({ onLeaseExpiry, leaseEndsAt, renewUntil }: Execution): number {
  return onLeaseExpiry === 'retry' ? leaseEndsAt : Math.max(leaseEndsAt, renewUntil);
}

/** Whether a failed begin may have been applied. A store that must not be used, being too old, was not asked at all. */
export function mayHaveBegun(error: unknown): boolean {
  if (isLockstepError(error) && error.kind === 'misuse') return false;
  return !(error instanceof StoreUnavailableError) || error.outcome === 'unknown';
}
