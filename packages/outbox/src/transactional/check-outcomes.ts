import { checkpoint, count, Incidents } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { HalfDecisions } from './half-decisions.js';
import type { CheckAnswer, DueCheck, PreparedMessageStore } from './prepared-message-store.js';

/** What follows from the answer to a check: a decision, another check, or, where it was the last, the parking. */
@Injectable()
export class CheckOutcomes {
  private readonly store: PreparedMessageStore;

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(HalfDecisions) private readonly decisions: HalfDecisions,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.store = store.prepared;
  }

  /** @throws StoreUnavailableError */
  async settle(due: DueCheck, answer: CheckAnswer): Promise<void> {
    const { id } = due.message;
    checkpoint('outbox.half.checked', { id, answer });
    count('lockstep.outbox.checks', { answer });
    if (answer === 'commit') await this.decisions.commitFrom(id, 'prepared');
    else if (answer === 'rollback') await this.decisions.rollbackFrom(id, 'prepared');
    else if (due.isLast && (await this.store.park(id))) this.reportParked(due);
  }

  reportFailed({ message, checker }: DueCheck, cause: unknown): void {
    this.incidents.report({
      code: 'OUTBOX_CHECK_FAILED',
      source: 'outbox.check-back',
      message: 'a half message could not be checked; it is checked again',
      cause,
      fields: { id: message.id, topic: message.topic, checker },
    });
  }

  private reportParked({ message, checker }: DueCheck): void {
    count('lockstep.outbox.half', { outcome: 'undecided' });
    this.incidents.report({
      code: 'OUTBOX_MESSAGE_UNDECIDED',
      source: 'outbox.check-back',
      message: 'nobody could tell whether the work of a message is committed; it waits for a person to decide',
      fields: { id: message.id, topic: message.topic, checker },
    });
  }
}
