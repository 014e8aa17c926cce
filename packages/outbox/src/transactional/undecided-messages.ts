import { ConfigurationError, wholeNumber } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { validate as isUuid } from 'uuid';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { HalfDecisions } from './half-decisions.js';
import {
  type CheckAnswer,
  type DecisionOutcome,
  type PreparedMessageStore,
  TOMBSTONE,
  type UndecidedMessage,
  type UndecidedQuery,
} from './prepared-message-store.js';
import { MessageNotUndecidedError } from './transactional.errors.js';

/** A person's decision has no deadline; it is the largest time that a Date has. */
const NEVER = 8_640_000_000_000_000;

/** What a person does with parked messages. The tombstone has the last word where a transaction may have joined. */
@Injectable()
export class UndecidedMessages {
  private readonly store: PreparedMessageStore;

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(Sql) private readonly sql: Sql,
    @Inject(HalfDecisions) private readonly decisions: HalfDecisions,
  ) {
    this.store = store.prepared;
  }

  async list({ after, limit = 100 }: Partial<UndecidedQuery>): Promise<readonly UndecidedMessage[]> {
    if (after !== undefined) checkId(after);
    const query = { limit: wholeNumber('limit', limit, 1, 1_000) };
    return this.store.undecided(after === undefined ? query : { ...query, after });
  }

  async resume(id: string): Promise<void> {
    checkId(id);
    if (!(await this.store.resume(id))) throw notUndecided(id);
  }

  async commit(id: string): Promise<void> {
    if ((await this.checkerOf(id)) === TOMBSTONE) {
      const joined = await this.sql.transaction((tx) => this.store.join(tx, id, NEVER), {
        propagation: 'requires-new',
      });
      if (!joined) assertAgrees(id, 'commit', await this.store.standing(id));
    }
    assertDecided(id, await this.decisions.commitFrom(id, 'undecided'));
  }

  async rollback(id: string): Promise<void> {
    if ((await this.checkerOf(id)) === TOMBSTONE) assertAgrees(id, 'rollback', await this.store.standing(id));
    assertDecided(id, await this.decisions.rollbackFrom(id, 'undecided'));
  }

  private async checkerOf(id: string): Promise<string> {
    checkId(id);
    const checker = await this.store.checkerOf(id);
    if (checker === undefined) throw notUndecided(id);
    return checker;
  }
}

function assertAgrees(id: string, wanted: CheckAnswer, standing: CheckAnswer): void {
  if (standing === wanted) return;
  if (standing === 'unknown')
    throw new MessageNotUndecidedError(id, 'the transaction that has joined it is still open');
  const ended = standing === 'commit' ? 'committed' : 'was refused, and cannot commit any more';
  throw new MessageNotUndecidedError(id, `its transaction ${ended}; resume it`);
}

function assertDecided(id: string, { decided }: DecisionOutcome): void {
  if (!decided) throw notUndecided(id);
}

function notUndecided(id: string): MessageNotUndecidedError {
  return new MessageNotUndecidedError(id, 'it is not there, or not parked');
}

function checkId(id: string): void {
  if (!isUuid(id)) throw ConfigurationError.option('id', id, 'the id of a message, which is a UUID');
}
