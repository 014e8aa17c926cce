import { checkpoint, count, Incidents } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { RelayWakeUp } from '../relay/relay-wake-up.js';
import type { DecisionOutcome, OpenState, PreparedMessageStore } from './prepared-message-store.js';
import { MessageAlreadyRolledBackError } from './transactional.errors.js';

/** Writes down decisions of those who know: each is a compare-and-set, and the one that loses is told. */
@Injectable()
export class HalfDecisions {
  private readonly store: PreparedMessageStore;

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(RelayWakeUp) private readonly wakeUp: RelayWakeUp,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.store = store.prepared;
  }

  /**
   * By the one whose work is done; also where the message was parked, because nobody knew then.
   *
   * @throws MessageAlreadyRolledBackError when that was decided before; StoreUnavailableError
   */
  async commit(id: string): Promise<void> {
    let outcome = await this.commitFrom(id, 'prepared');
    if (outcome.state === 'undecided') outcome = await this.commitFrom(id, 'undecided');
    if (outcome.state === 'committed') return;
    this.incidents.report({
      code: 'OUTBOX_LATE_COMMIT_REFUSED',
      source: 'outbox.transactional',
      message: 'work was done after its message had been rolled back: the message is not published',
      fields: { id },
    });
    throw new MessageAlreadyRolledBackError(id, 'its work is done, and no message will tell of it.');
  }

  /** By the one whose work has failed. @throws StoreUnavailableError */
  async rollback(id: string): Promise<void> {
    const outcome = await this.rollbackFrom(id, 'prepared');
    if (outcome.state === 'undecided') await this.rollbackFrom(id, 'undecided');
  }

  async commitFrom(id: string, from: OpenState): Promise<DecisionOutcome> {
    const outcome = await this.store.commit(id, from);
    checkpoint('outbox.half.committed', { id });
    if (!outcome.decided) return outcome;
    count('lockstep.outbox.half', { outcome: 'committed' });
    count('lockstep.outbox.published');
    if (outcome.shard === undefined) return outcome;
    if (outcome.delayMs > 0) this.wakeUp.expect(outcome.delayMs);
    else this.wakeUp.wake([outcome.shard]);
    return outcome;
  }

  async rollbackFrom(id: string, from: OpenState): Promise<DecisionOutcome> {
    const outcome = await this.store.rollback(id, from);
    checkpoint('outbox.half.rolled-back', { id });
    if (outcome.decided) count('lockstep.outbox.half', { outcome: 'rolled-back' });
    return outcome;
  }
}
