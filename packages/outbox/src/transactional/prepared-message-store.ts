import type { SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from '../message.js';
import type { OutboxRecord } from '../outbox-store.js';

/** Checker of half messages whose local work joins them in its own transaction. */
export const TOMBSTONE = '';

/** What is known of the local work of a half message. `unknown`: not yet, ask again. */
export type CheckAnswer = 'commit' | 'rollback' | 'unknown';

/** A half message as it is prepared: nobody sees it before it is committed. */
export interface HalfMessage {
  /** Never strict: its sequence would be drawn at the commit, in an order that nobody has promised. */
  readonly record: OutboxRecord;
  /** Name of the check that knows of the local work; {@link TOMBSTONE} where the work joins it. At most 200 characters. */
  readonly checker: string;
  /** From the preparation to the first check. */
  readonly checkAfterMs: number;
  /** Between two checks. */
  readonly checkEveryMs: number;
  /** After which a message whose outcome is unknown is parked. */
  readonly checks: number;
  /** From the preparation on, for how long the local transaction may still join. */
  readonly joinWithinMs: number;
  /** From the preparation on, for how long the local work may be running; before that nobody may believe a `rollback`. */
  readonly maxAgeMs: number;
}

export type HalfState = 'prepared' | 'committed' | 'rolled-back' | 'undecided';
/** From which a decision leads on. */
export type OpenState = Extract<HalfState, 'prepared' | 'undecided'>;

/** What became of an attempt to decide. */
export interface DecisionOutcome {
  /** Whether this call was the one. */
  readonly decided: boolean;
  /** In which the message stands now; undefined when it is not, or no longer, there. */
  readonly state: HalfState | undefined;
  /** Where the message stands, or is to stand, in the outbox. */
  readonly shard: number | undefined;
  /** For how long it is held back once committed; 0 where it is not. */
  readonly delayMs: number;
}

/** A checker for which something is due. */
export interface WaitingChecker {
  readonly checker: string;
  /** When the check that has been due for the longest was due: epoch milliseconds on the store's clock. */
  readonly dueSince: number;
}

export interface DueRequest {
  /** {@link TOMBSTONE} is one like the others. */
  readonly checker: string;
  readonly limit: number;
}

/** A half message that is to be checked now. */
export interface DueCheck {
  readonly message: MessageEnvelope;
  readonly checker: string;
  /** Whether it is parked if this check does not tell. */
  readonly isLast: boolean;
  /** Whether the local work can still be running, on the store's clock. */
  readonly isYoung: boolean;
}

export interface UndecidedMessage {
  /** `publishedAt` is when it was prepared. */
  readonly message: MessageEnvelope;
  readonly checker: string;
  /** How often it was checked since it was prepared, or resumed. */
  readonly checks: number;
}

export interface UndecidedQuery {
  /** Only those behind this one. */
  readonly after?: string;
  readonly limit: number;
}

/** Counted up to 10 000. The age is whole milliseconds on the store's clock; 0 where there is nothing. */
export interface PreparedFacts {
  readonly prepared: number;
  readonly undecided: number;
  /** Of the oldest message that is neither decided nor parked. */
  readonly oldestPreparedMs: number;
}

/**
 * Port: half messages, and the tombstones by which local transactions decide about them.
 *
 * ```
 * prepared  --commit-->   committed    the message stands in the outbox, in the same step
 *           --rollback--> rolled-back
 *           --park-->     undecided    --resume--> prepared
 *                                      --commit--> committed, --rollback--> rolled-back
 * committed, rolled-back --purge--> (gone)
 *
 * no tombstone --join, in the local transaction, before the deadline--> commit, once that transaction commits
 *              --standing, while nobody has joined--> rollback
 * ```
 *
 * Contract:
 * - `prepare` is durable when it resolves, and takes no part in any open transaction. It gives the deadline for `join`.
 * - `commit` and `rollback` are compare-and-set: they decide only a message that is in the state `from`, one of any number
 *   of them at a time does, and the others learn what it decided. A commit puts the message into the outbox in the same
 *   step, as `OutboxStore.append` does; its delay begins then.
 * - `due` gives out what is due for a checker on the store's clock, oldest first, and in the same step counts the check and
 *   sets when the next one is due: of two calls at the same time, one gets the message; what the caller leaves undone
 *   because it died is due again.
 * - `join` writes `commit` in the caller's transaction and gives true; false when `rollback` stands already or the deadline
 *   has passed on the database's clock, and then the transaction must be rolled back. It waits for a `standing` of the same
 *   message, which is short.
 * - `standing` gives what the tombstone says, after writing `rollback` where there is none. While a transaction that has
 *   joined is open it gives `unknown`, soon: it never waits for that transaction's end. What it has given once, other than
 *   `unknown`, it gives for as long as the message is not purged, and no `join` contradicts it, ever.
 * - `park` and `resume` are compare-and-set; true when this call did it.
 * - `purge` forgets decided messages and their tombstones, not before `olderThanMs` after the decision and not before the
 *   deadline: until then a late `join` or `commit` must find out. It never touches what is open.
 * - All but `join` reject with `StoreUnavailableError` while the server cannot be reached. `join` passes the database's own
 *   errors.
 */
export interface PreparedMessageStore {
  /** @returns the deadline, in epoch milliseconds on the database's clock; to be given to `join` */
  prepare(half: HalfMessage): Promise<number>;
  commit(id: string, from: OpenState): Promise<DecisionOutcome>;
  rollback(id: string, from: OpenState): Promise<DecisionOutcome>;
  join(transaction: SqlTransaction, id: string, deadline: number): Promise<boolean>;
  standing(id: string): Promise<CheckAnswer>;
  /** Costs as much as there are checkers, however many messages wait for them. */
  waiting(): Promise<readonly WaitingChecker[]>;
  due(request: DueRequest): Promise<readonly DueCheck[]>;
  park(id: string): Promise<boolean>;
  /** Counts the checks anew, the first one at once. */
  resume(id: string): Promise<boolean>;
  /** In the order of their ids. */
  undecided(query: UndecidedQuery): Promise<readonly UndecidedMessage[]>;
  /** The checker of an undecided message; undefined when there is no such one. */
  checkerOf(id: string): Promise<string | undefined>;
  facts(): Promise<PreparedFacts>;
  /** At most 1 000 a call. Returns how many messages. */
  purge(olderThanMs: number): Promise<number>;
}
