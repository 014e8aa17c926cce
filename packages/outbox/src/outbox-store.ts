import type { SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from './message.js';
import type { MessageRoute } from './message-transport.js';
import type { PreparedMessageStore } from './transactional/prepared-message-store.js';

/** A message to be written; the store sets the time. */
export interface OutboxRecord {
  readonly message: Omit<MessageEnvelope, 'publishedAt'>;
  /** 0 to 32767; messages of one topic and key share one. */
  readonly shard: number;
  /** Whether the row lives until the consumer's acknowledgement, or only until the transport accepted the message. */
  readonly awaitsAck: boolean;
  /** Milliseconds on the store's clock before which it is not claimed; 0 for none. */
  readonly delayMs: number;
  /** Whether the store draws the message's sequence and writes it as `Lockstep-Sequence`. Then it has a key and no delay. */
  readonly strict: boolean;
}

/** Where a message stands that was not moved when it was claimed. */
export interface OutboxPlace {
  readonly shard: number;
  /** Whole number, as text. */
  readonly position: string;
}

/** One message for one consumer, to be published now. */
export interface OutboxDelivery {
  readonly message: MessageEnvelope;
  /** {@link NO_CONSUMER} when nobody has subscribed to the topic yet: there is nothing to publish. */
  readonly consumer: string;
  readonly awaitsAck: boolean;
  /** The how-manieth time that the store gives it out, from 1. */
  readonly deliveries: number;
  /** Set where the row still stands in the outbox and is to be removed by an `accepted` settlement. */
  readonly place: OutboxPlace | undefined;
}

/** Consumer of what is parked because its topic has no consumer. */
export const NO_CONSUMER = '';

export interface ClaimRequest {
  /** Both ends belong to the range. */
  readonly fromShard: number;
  readonly toShard: number;
  /** Messages at most. */
  readonly limit: number;
  /** When an unacknowledged message is overdue, from now on. */
  readonly redeliverAfterMs: number;
  /**
   * Position in the first shard: what stands there, or before it, is left out, and what used to stand there costs nothing.
   * Without it, a claim may have to pass all that was ever removed and is still kept for somebody's snapshot.
   */
  readonly after?: string;
  /** Whether it may take as long as it takes to pass that, and not only as long as a command. @default false */
  readonly patient?: boolean;
}

export interface ClaimedMessages {
  /** In the order of the outbox, once for each consumer. */
  readonly deliveries: readonly OutboxDelivery[];
  /** How many messages were claimed; as many as the limit means that there may be more. */
  readonly messages: number;
  /** When, in epoch milliseconds on the store's clock; undefined where nothing was claimed. */
  readonly claimedAt: number | undefined;
  /** Highest position claimed in the first shard; undefined where nothing was. What is appended later stands behind it. */
  readonly reached: string | undefined;
}

export interface OverdueRequest {
  readonly limit: number;
  /** The pause doubles from here with every delivery … */
  readonly redeliverAfterMs: number;
  /** … up to here. */
  readonly redeliverAtMostMs: number;
  /** As for a claim. @default false */
  readonly patient?: boolean;
}

/**
 * What becomes of one delivery. `accepted`: the transport has it, and that was all that was asked for. `deferred`: it
 * could not be published while others could; it moves in flight, due at once, and its place in the outbox is free. All
 * deliveries of a message that are still open are deferred together. `acknowledged`: the consumer has committed its
 * effect. `waiting`: the consumer has it and does not handle it before `forMs` have passed; it is not overdue until then,
 * and never earlier than it was. `dead`: it was given up; where nothing stands in flight any more, `message` is what becomes the dead letter,
 * and without it nothing does.
 */
export type Settlement =
  | ({ readonly outcome: 'accepted' } & OutboxPlace)
  | ({ readonly outcome: 'deferred'; readonly consumer: string } & OutboxPlace)
  | { readonly outcome: 'acknowledged'; readonly consumer: string; readonly messageId: string }
  | { readonly outcome: 'waiting'; readonly consumer: string; readonly messageId: string; readonly forMs: number }
  | {
      readonly outcome: 'dead';
      readonly consumer: string;
      readonly messageId: string;
      readonly error: string;
      readonly message?: MessageEnvelope;
    };

/** Ownership of a shard for a time; a `RowLease` of `@lockstep/sql` is one. */
export interface ShardLease {
  /** Judged by the local monotonic clock, on the safe side. */
  isHeld(): boolean;
  renew(): Promise<boolean>;
  release(): Promise<void>;
}

/**
 * Port: where messages stand until they have taken effect.
 *
 * ```
 * delayed --promote, once due--> outbox
 * outbox --claim--> in flight, one row a consumer --acknowledged--> (gone)
 *   |                 |  ^  |                     --dead--> dead letters --replay--> in flight
 *   |                 |  |  '--overdue--> given out again, later and later
 *   |                 '--'    parked (no consumer) --overdue, once there is one--> in flight
 *   |--claim, then accepted (a message that awaits no acknowledgement)--> (gone)
 *   '--claim, then deferred (likewise)--> in flight
 * ```
 *
 * Contract:
 * - `append` is part of `transaction`: what it writes exists exactly when the transaction commits, truncated with the
 *   savepoint it was written in. Records of one call keep their order.
 * - `append` draws the sequences of strict messages in that transaction, per topic and key: 1, 2, 3 … without a gap across
 *   rollbacks, never twice; writers of one key wait for each other's end. Keys are locked in one order whatever the order
 *   of the records, so that two calls never end in a deadlock with each other. Forgotten counters
 *   (`purgeSequences`) begin a later generation.
 * - What has a delay is `promote`d once it is due on the store's clock, in the order in which it is due, and is claimed
 *   after that as if it had been appended then. Two promotions at a time never move the same message twice.
 * - `lease` gives a shard to one owner at a time on the store's clock; undefined while another one has it.
 * - `claim` is one atomic step: a message that awaits its acknowledgement, or has no consumer, is *moved* in flight, so
 *   what nobody acknowledges never blocks what comes after it. It is in flight before anybody can publish it. Two
 *   claims at the same time never both return the same moved message. What awaits nothing stays until it is `accepted`,
 *   and is returned by every claim until then. Positions are drawn when a message is appended and rise within a shard, so one that
 *   commits late may stand before what was claimed already.
 * - `overdue` gives out again what is in flight and overdue on the store's clock, and sets when it is overdue next. Two
 *   calls at the same time never return the same delivery. What was parked is in flight for every consumer once the
 *   topic has some; as long as it has none, it is returned now and then with {@link NO_CONSUMER}.
 * - Every delivery of a strict message to a consumer that subscribed when its key had messages already carries
 *   `Lockstep-Sequence-Start`: the sequence of the first one that this consumer was ever given. A consumer is given all
 *   later ones of the key.
 * - A message that is buried and names a compensator (`Lockstep-Compensator`) puts, in the same step and once, a message of
 *   topic {@link FAILED_TOPIC} in flight for that consumer, due at once and until acknowledged; `failureNoticeOf` makes it.
 * - `settle` may be repeated and may come for what is already gone: then it does nothing. One that breaks off half-way
 *   has removed no message that it was to bury.
 * - `subscribe` makes every message claimed from then on reach the route, also after a restart. It may be repeated.
 * - Everything but `append` rejects with `StoreUnavailableError` while the server cannot be reached. `append` passes
 *   the database's own errors.
 */
export interface OutboxStore {
  append(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void>;
  /**
   * Ability: `append` whose insert goes out with the commit, for a transaction that can send something `lastly`. An insert
   * that fails rolls back. Sequences are drawn at once.
   */
  appendLast?(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void>;
  lease(name: string, ttlMs: number): Promise<ShardLease | undefined>;
  claim(request: ClaimRequest): Promise<ClaimedMessages>;
  overdue(request: OverdueRequest): Promise<readonly OutboxDelivery[]>;
  settle(settlements: readonly Settlement[]): Promise<void>;
  /** Puts into the outbox what is due. Returns how many, and in how many milliseconds the next one is due, if there is one. */
  promote(
    limit: number,
    patient?: boolean, // as for a claim
  ): Promise<{ readonly promoted: number; readonly nextDueInMs: number | undefined }>;
  subscribe(routes: readonly MessageRoute[]): Promise<void>;
  /** What people and alarms ask of the store. */
  readonly operations: OutboxOperations;
  /** Half messages: not in the outbox before they are committed. */
  readonly prepared: PreparedMessageStore;
}

/** Ages are whole milliseconds on the store's clock; 0 where there is nothing. */
export interface OutboxFacts {
  /** Of the oldest committed message that no relay has taken. */
  readonly oldestPendingMs: number;
  /** Of the oldest message that was relayed and not acknowledged. */
  readonly oldestInFlightMs: number;
  /** Of the oldest message whose topic has no consumer. */
  readonly oldestParkedMs: number;
  /** How long ago the delayed message that is due and not promoted was due. */
  readonly oldestDueMs: number;
  /** Counted up to 10 000: a health check must not read a backlog of millions. */
  readonly pending: number;
  /** Waiting for their delay; counted up to 10 000. */
  readonly delayed: number;
  /** Parked ones included; counted up to 10 000. */
  readonly inFlight: number;
  /** Counted up to 10 000. */
  readonly dead: number;
}

export interface DeadLetterId {
  readonly messageId: string;
  readonly consumer: string;
}

export interface DeadLetter extends DeadLetterId {
  readonly message: MessageEnvelope;
  /** Why it was given up, at most 2 000 characters. */
  readonly error: string;
  /** Epoch milliseconds on the store's clock. */
  readonly failedAt: number;
}

export interface DeadLetterQuery {
  /** Only those of this consumer. */
  readonly consumer?: string;
  /** Only those of this topic. */
  readonly topic?: string;
  /** Only strict ones, which hold up their key. */
  readonly blocking?: boolean;
  /** Only those behind this one. */
  readonly after?: DeadLetterId;
  readonly limit: number;
}

/**
 * Port: looks at what stands in an {@link OutboxStore} and deals with what was given up. Of one page of dead letters to
 * the next, nothing is left out or returned twice; the order is that of the message ids.
 */
export interface OutboxOperations {
  /** @param shards how many shards are in use */
  facts(shards: number): Promise<OutboxFacts>;
  deadLetters(query: DeadLetterQuery): Promise<readonly DeadLetter[]>;
  /**
   * Puts dead letters in flight again, due at once, until acknowledged: with `Lockstep-Durability: until-ack`, whatever it
   * was. Returns how many there were.
   */
  replay(ids: readonly DeadLetterId[]): Promise<number>;
  /**
   * Like `replay`, for strict ones only: with `Lockstep-Skip`, so that the consumer passes them over; what is in flight
   * beside one of them has it, too, and is due at once. Others are left.
   */
  skip(ids: readonly DeadLetterId[]): Promise<number>;
  /**
   * Forgets dead letters; in the same step, a strict one to a consumer that is still subscribed is put in flight as by `skip`,
   * because the later ones of its key wait for its turn. Returns how many there were.
   */
  discard(ids: readonly DeadLetterId[]): Promise<number>;
  /**
   * Forgets at most 1 000 dead letters that were given up longer ago. Strict ones to consumers that are still subscribed are
   * kept: they hold up their key, and only who skips or replays them can end that. Returns how many.
   */
  purge(olderThanMs: number): Promise<number>;
  /**
   * Looks at some of the sequence counters, a walk that goes round with the calls. Of a key from which nobody has drawn for
   * longer, it forgets the counter and the starts of consumers if no strict message of the key is in the store; otherwise
   * each consumer that has none, with none left to be routed, begins with the next message of the key from now on, should
   * it have forgotten where it stands. At most 1 000 keys a call; returns of how many it changed something.
   */
  purgeSequences(olderThanMs: number): Promise<number>;
  /**
   * Ends a subscription; what it has in flight becomes dead letters, at most 1 000 a call, and no compensator is told.
   * Nothing is in flight for it after a call that returns 0, also where a claim had read the subscription before.
   * Returns how many are no longer in flight.
   */
  retire(route: MessageRoute): Promise<number>;
}

export const OUTBOX_STORE = Symbol('@lockstep/outbox:OUTBOX_STORE');
