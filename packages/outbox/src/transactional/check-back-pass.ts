import { checkpoint, count, Incidents } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { ReportPace } from '../relay/report-pace.js';
import { HalfDecisions } from './half-decisions.js';
import { type CheckAnswer, type DueCheck, type PreparedMessageStore, TOMBSTONE } from './prepared-message-store.js';
import { TransactionalHandlers } from './transactional-handlers.js';

/** Checked at a time; each may take a connection. */
const BATCH = 8;
const LONGEST_CHECK_MS = 30_000;
const STRANGERS_EVERY_MS = 60_000;
const ANSWERS: readonly unknown[] = ['commit', 'rollback', 'unknown'] satisfies CheckAnswer[];

/**
 * Asks about half messages of which nobody has told how their work ended. Any number of these may run at a time, anywhere:
 * the store gives a due message to one of them, and sets the next check in the same step. Whoever dies here leaves it to the
 * next check.
 *
 * ```
 * due --tombstone: commit--> committed                 --check: commit--> committed
 *     --tombstone: rollback--> rolled-back             --check: rollback--> rolled-back, if old enough
 *     --tombstone: locked--> unknown                   --check: rollback too early | rejects | too slow--> unknown
 *     --unknown, not the last--> due again             --unknown, the last--> undecided, parked, reported
 * ```
 */
@Injectable()
export class CheckBackPass {
  private readonly store: PreparedMessageStore;
  private readonly strangers = new ReportPace(STRANGERS_EVERY_MS);

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(HalfDecisions) private readonly decisions: HalfDecisions,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.store = store.prepared;
  }

  /** @returns whether there may be more to do at once @throws StoreUnavailableError */
  async run(): Promise<boolean> {
    const checkers = this.handlers.checkers();
    const due = await this.store.due({ limit: BATCH, checkers });
    await Promise.all(due.map((one) => this.check(one)));
    if (this.strangers.isDue('')) await this.reportStrangers(checkers);
    return due.length >= BATCH;
  }

  private async check(due: DueCheck): Promise<void> {
    const { id } = due.message;
    try {
      const answer = due.checker === TOMBSTONE ? await this.store.standing(id) : await this.ask(due);
      checkpoint('outbox.half.checked', { id, answer });
      count('lockstep.outbox.checks', { answer });
      if (answer === 'commit') await this.decisions.commitFrom(id, 'prepared');
      else if (answer === 'rollback') await this.decisions.rollbackFrom(id, 'prepared');
      else if (due.isLast && (await this.store.park(id))) this.reportParked(due);
    } catch (cause) {
      this.reportFailed(due, cause);
    }
  }

  private async ask({ message, checker, isYoung, isLast }: DueCheck): Promise<CheckAnswer> {
    const check = this.handlers.checkOf(checker);
    if (!check) return 'unknown';
    let answer: CheckAnswer;
    try {
      answer = await withinTime(check(message.id, JSON.parse(message.payload) as never));
      if (!ANSWERS.includes(answer)) throw new TypeError(`${checker} answered none of ${ANSWERS.join(', ')}`);
    } catch (cause) {
      this.reportFailed({ message, checker, isYoung, isLast }, cause);
      return 'unknown';
    }
    // It has not seen the end of work that may still be running.
    return answer === 'rollback' && isYoung ? 'unknown' : answer;
  }

  private reportFailed({ message, checker }: DueCheck, cause: unknown): void {
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

  private async reportStrangers(checkers: readonly string[]): Promise<void> {
    for (const checker of await this.store.strangers(checkers)) {
      this.incidents.report({
        code: 'OUTBOX_CHECKER_MISSING',
        source: 'outbox.check-back',
        message: 'half messages wait for a check that this process does not have, and no other one has asked it',
        fields: { checker },
      });
    }
  }
}

async function withinTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${LONGEST_CHECK_MS} ms`)), LONGEST_CHECK_MS);
  });
  try {
    return await Promise.race([work, tooLong]);
  } finally {
    clearTimeout(timer);
  }
}
