import { checkpoint, Incidents, isLockstepError, withSpan } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { type Half, JoinableHalf } from './half.js';
import { HalfDecisions } from './half-decisions.js';
import { HalfRecords } from './half-records.js';
import {
  type PreparedFacts,
  type PreparedMessageStore,
  TOMBSTONE,
  type UndecidedMessage,
  type UndecidedQuery,
} from './prepared-message-store.js';
import { MessageAlreadyRolledBackError, NOT_APPLIED, TransactionalMessageMisuseError } from './transactional.errors.js';
import type { CheckBack, TransactionalMessageInit } from './transactional.options.js';
import { type Check, type Compensator, TransactionalHandlers } from './transactional-handlers.js';
import { UndecidedMessages } from './undecided-messages.js';

/** What the decorator knows beside the message: its times are resolved where it is written. */
export interface PreparedTimes {
  readonly checkBack?: CheckBack;
}

/**
 * Messages that are prepared before some local work, and published exactly when that work is committed: half messages with
 * check-back. Where the work is one transaction of this database and nothing else, the outbox does the same for less; this
 * is for work that other libraries or other systems commit.
 *
 * ```
 * (nothing) --prepare, durable--> prepared --work done--> committed, in the outbox in the same step --> relayed
 *                                          --work failed--> rolled-back
 *                                          --neither heard of: check-back--> committed | rolled-back
 *                                          --not known after `checks`--> undecided, parked
 * undecided --a person: resume--> prepared; commit, rollback--> decided
 * ```
 * Each decision is a compare-and-set, so one wins; a commit that comes after the rollback is refused, loudly.
 *
 * Who dies where, and what the check-back finds, if the work joins the message by its transaction (tombstone):
 *
 * | death | the check finds |
 * |---|---|
 * | before or while it is prepared | no message; or one without tombstone: writes `rollback` |
 * | prepared, before the transaction joined | no tombstone: writes `rollback`; a late join is refused, its transaction rolls back |
 * | joined, the transaction open | the tombstone's row is locked: unknown, asks again |
 * | joined, the connection gone | the database has rolled back: writes `rollback` |
 * | committed, before or while the message is | `commit`: publishes |
 * | after the deadline for joining | as above; the join is refused by its own statement, also when tombstones are purged |
 *
 * With a check of the application the first two and the last but one look alike to it, and the answer `rollback` means
 * something only after `maxTransactionAge`; until then it counts as unknown, as does a check that rejects.
 */
@Injectable()
export class TransactionalMessages {
  private readonly store: PreparedMessageStore;

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(HalfRecords) private readonly records: HalfRecords,
    @Inject(HalfDecisions) private readonly decisions: HalfDecisions,
    @Inject(UndecidedMessages) private readonly parked: UndecidedMessages,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.store = store.prepared;
  }

  /**
   * Prepares the message, runs `work`, and publishes the message if and only if the work is committed; the result, or the
   * error, of `work` passes unchanged.
   *
   * Without `check`, `work` calls `half.join(tx)` in the transaction that does the work. When it rejects, the transaction
   * decides: its tombstone is asked. With `check`, `NotAppliedError` says that nothing was done, and rolls the message back;
   * after every other one an earlier step may have been done, and the check decides later.
   *
   * When the decision cannot be written down (the store is away) the check-back takes it later, and the result passes.
   *
   * @throws TransactionalMessageMisuseError inside an open transaction, before anything is done: what is prepared must not
   * roll back with it; after the work, when that has joined no transaction and has no check
   * @throws MessageAlreadyRolledBackError when the message was rolled back before the work had joined, or was done
   * @throws MessageInvalidError, ConfigurationError, StoreUnavailableError before the work begins
   */
  async run<T>(
    init: TransactionalMessageInit,
    work: (half: Half) => Promise<T>,
    { checkBack }: PreparedTimes = {},
  ): Promise<T> {
    this.assertOutside();
    const half = this.records.make(init, checkBack);
    const { id } = half.record.message;
    return withSpan('lockstep.outbox.half', { 'messaging.destination.name': init.topic }, async () => {
      const deadline = await this.store.prepare(half);
      checkpoint('outbox.half.prepared', { id });
      return this.decideAfter(new JoinableHalf(id, deadline, this.store, half.checker === TOMBSTONE), work);
    });
  }

  /**
   * Makes a check known, in every process that is to check: in a constructor or `onModuleInit`. It may be asked more than
   * once, here and elsewhere, while the work is running or long after it; its body is JSON as the message's.
   *
   * @param name of 1 to 200 characters; kept with the message, so it must not change
   * @throws ConfigurationError when there is another one of the name
   */
  registerCheck(name: string, check: Check): void {
    this.handlers.addCheck({ name, run: check });
  }

  /**
   * Makes a compensator known, in every process that consumes: before `onApplicationBootstrap`. It runs once for each
   * consumer that gave the message up, in a transaction with its inbox row.
   *
   * @param name that of a consumer, and not below `lockstep.`; travels with the message, so it must not change
   * @throws ConfigurationError when there is another one of the name, or it is not allowed
   */
  registerCompensator(name: string, compensator: Compensator): void {
    this.handlers.addCompensator({ name, run: compensator });
  }

  /** A page of parked messages in the order of their ids. @throws StoreUnavailableError, ConfigurationError */
  undecided(query: Partial<UndecidedQuery> = {}): Promise<readonly UndecidedMessage[]> {
    return this.parked.list(query);
  }

  /** Lets the check-back try again, from the first check on. @throws MessageNotUndecidedError, StoreUnavailableError */
  resume(id: string): Promise<void> {
    return this.parked.resume(id);
  }

  /**
   * Publishes a parked message. Where a transaction may have joined it, by a tombstone that refuses a later join.
   *
   * @throws MessageNotUndecidedError also when the transaction has decided otherwise, or is open; StoreUnavailableError
   */
  commit(id: string): Promise<void> {
    return this.parked.commit(id);
  }

  /** Drops a parked message; otherwise like {@link commit}. @throws MessageNotUndecidedError, StoreUnavailableError */
  rollback(id: string): Promise<void> {
    return this.parked.rollback(id);
  }

  /** How many stand open, and for how long. @throws StoreUnavailableError */
  facts(): Promise<PreparedFacts> {
    return this.store.facts();
  }

  private async decideAfter<T>(half: JoinableHalf, work: (half: Half) => Promise<T>): Promise<T> {
    const isChecked = !half.takesPart;
    let result: T;
    try {
      result = await work(half);
    } catch (error) {
      half.close();
      await this.quietly(half, () => (isChecked ? this.afterCheckedFailure(half, error) : this.byTombstone(half)));
      throw error;
    }
    half.close();
    checkpoint('outbox.half.worked', { id: half.id });
    if (half.state === 'nobody' && !isChecked) {
      await this.quietly(half, () => this.byTombstone(half));
      throw new TransactionalMessageMisuseError(
        'The work has joined the message to no transaction, so the message was rolled back. ' +
          'Call half.join(tx) in the transaction, or name a check.',
      );
    }
    await this.quietly(half, () =>
      isChecked || half.state === 'committed' ? this.decisions.commit(half.id) : this.byTombstone(half, true),
    );
    return result;
  }

  /** What a check-back can do as well must not fail the caller, whose work is done, or whose error matters more. */
  private async quietly(half: JoinableHalf, decide: () => Promise<void>): Promise<void> {
    try {
      await decide();
    } catch (cause) {
      if (cause instanceof MessageAlreadyRolledBackError) throw cause;
      this.incidents.report({
        code: 'OUTBOX_HALF_LEFT_TO_CHECK',
        source: 'outbox.transactional',
        message: 'the decision about a message could not be written down; the check-back takes it',
        cause,
        fields: { id: half.id },
      });
    }
  }

  /** The kind of an error tells of the step that threw it, and nothing of the steps before: those are for the check. */
  private async afterCheckedFailure(half: JoinableHalf, error: unknown): Promise<void> {
    if (isLockstepError(error) && error.code === NOT_APPLIED) await this.decisions.rollback(half.id);
  }

  /** @param claimsCommit whether the work has resolved, so that its caller believes that it is committed */
  private async byTombstone(half: JoinableHalf, claimsCommit = false): Promise<void> {
    const answer = half.state === 'committed' ? 'commit' : await this.store.standing(half.id);
    if (answer === 'commit') return this.decisions.commit(half.id);
    if (answer === 'unknown') return undefined;
    await this.decisions.rollback(half.id);
    if (!claimsCommit) return undefined;
    throw new MessageAlreadyRolledBackError(half.id, 'the transaction that had joined it did not commit.');
  }

  private assertOutside(): void {
    if (!this.sql.current()) return;
    throw new TransactionalMessageMisuseError(
      'A transactional message is prepared before its work begins, and must not roll back with it: it cannot be prepared ' +
        'inside an open transaction. Inside of one, publish by the outbox.',
    );
  }
}
