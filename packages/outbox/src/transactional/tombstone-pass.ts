import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { CheckOutcomes } from './check-outcomes.js';
import { type DueCheck, type PreparedMessageStore, TOMBSTONE } from './prepared-message-store.js';

/** Checked at a time; each takes a connection. */
const BATCH = 8;

/**
 * Asks the tombstones about half messages whose transaction has told nobody how it ended. No code of the application takes
 * part, so a check that hangs does not hold this up.
 *
 * ```
 * due --commit--> committed
 *     --rollback, or nothing: written then--> rolled-back
 *     --locked: its transaction is open--> due again; undecided, parked, reported, where it was the last
 * ```
 */
@Injectable()
export class TombstonePass {
  private readonly store: PreparedMessageStore;

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(CheckOutcomes) private readonly outcomes: CheckOutcomes,
  ) {
    this.store = store.prepared;
  }

  /** @returns whether there may be more to do at once @throws StoreUnavailableError */
  async run(): Promise<boolean> {
    const due = await this.store.due({ checker: TOMBSTONE, limit: BATCH });
    await Promise.all(due.map((one) => this.check(one)));
    return due.length >= BATCH;
  }

  private async check(due: DueCheck): Promise<void> {
    try {
      await this.outcomes.settle(due, await this.store.standing(due.message.id));
    } catch (cause) {
      this.outcomes.reportFailed(due, cause);
    }
  }
}
