import { Incidents, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { CheckOutcomes } from './check-outcomes.js';
import type { PreparedMessageStore, WaitingChecker } from './prepared-message-store.js';

/** Twice as long as a process that has the check can be silent: all of its slots hang no longer than that. */
const STILL_FOR_MS = 60_000;
/** Their payloads are in memory at a time. */
const BATCH = 100;

interface Watch {
  readonly dueSince: number;
  readonly sinceMs: number;
  /** Until nothing of it is due. */
  readonly isAbandoned: boolean;
}

/**
 * Sees to half messages whose check this process does not have: renamed or removed, they would stay prepared for ever, and
 * no person could decide about them.
 *
 * Whoever has the check takes the oldest first, so while anybody has it the oldest does not stay the same.
 *
 * ```
 * (not seen) --something is due--> watched --the oldest is another one: somebody asks--> watched, anew
 * watched    --the oldest is the same for a minute--> abandoned, reported
 * abandoned  --each that is due--> counts as asked, and unknown; parked, reported, where it was the last
 *            --nothing is due any more--> (not seen)
 * ```
 */
@Injectable()
export class AbandonedChecks {
  private readonly store: PreparedMessageStore;
  private readonly watches = new Map<string, Watch>();

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(CheckOutcomes) private readonly outcomes: CheckOutcomes,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.store = store.prepared;
  }

  /**
   * @param strangers all those that something is due for, and whose check is not here
   * @returns whether there may be more to do at once
   * @throws StoreUnavailableError
   */
  async run(strangers: readonly WaitingChecker[]): Promise<boolean> {
    const names = new Set(strangers.map(({ checker }) => checker));
    for (const name of this.watches.keys()) if (!names.has(name)) this.watches.delete(name);
    let more = false;
    for (const stranger of strangers) {
      if (this.isAbandoned(stranger)) more = (await this.countAsAsked(stranger.checker)) || more;
    }
    return more;
  }

  private isAbandoned({ checker, dueSince }: WaitingChecker): boolean {
    const nowMs = monotonicMs();
    const watch = this.watches.get(checker);
    if (watch?.isAbandoned) return true;
    if (watch?.dueSince !== dueSince) {
      this.watches.set(checker, { dueSince, sinceMs: nowMs, isAbandoned: false });
      return false;
    }
    if (nowMs - watch.sinceMs < STILL_FOR_MS) return false;
    this.watches.set(checker, { ...watch, isAbandoned: true });
    this.report(checker);
    return true;
  }

  private async countAsAsked(checker: string): Promise<boolean> {
    const due = await this.store.due({ checker, limit: BATCH });
    for (const one of due) await this.outcomes.settle(one, 'unknown');
    if (due.length >= BATCH) return true;
    this.watches.delete(checker);
    return false;
  }

  private report(checker: string): void {
    this.incidents.report({
      code: 'OUTBOX_CHECKER_MISSING',
      source: 'outbox.check-back',
      message: 'half messages wait for a check that this process does not have, and no other one has asked it',
      fields: { checker },
    });
  }
}
