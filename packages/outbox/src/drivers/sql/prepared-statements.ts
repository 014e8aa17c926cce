/**
 * What {@link SqlPreparedMessageStore} says to one dialect. Ids and times are text; lists are one JSON text each. States are
 * those of the port.
 */
export interface PreparedStatements {
  /**
   * Gives the `deadline`. $1 id, $2 shard, $3 awaits_ack, $4 delay, $5 topic, $6 key, $7 payload, $8 headers, $9 checker,
   * $10 ms to the first check, $11 ms between two, $12 checks, $13 ms to the deadline, $14 ms until it is old.
   */
  readonly prepare: string;
  /** $1 id, $2 from, $3 to. Touches a row when it decides. */
  readonly decide: string;
  /** $1 id. Its `state` and everything of which an outbox record is made. */
  readonly find: string;
  /** $1 id, $2 deadline. Touches one row when it has joined, and none or two when it has not. */
  readonly join: string;
  /** $1 id. Writes `rollback` where nothing stands; fails soon where a transaction that has joined is open. */
  readonly refuse: string;
  /** $1 id. */
  readonly standing: string;
  /** Each checker that something is due for, and since when. */
  readonly waiting: string;
  /** $1 checker, $2 limit. Those that are due and that no other one is claiming. */
  readonly lockDue: string;
  /** $1 ids. */
  readonly countCheck: string;
  /** $1 id. */
  readonly park: string;
  /** $1 id. */
  readonly resume: string;
  /** $1 the id before the first, $2 limit. */
  readonly undecided: string;
  readonly facts: string;
  /** $1 ms. */
  readonly purgeMessages: string;
  /** $1 ms. Only those whose message is gone: an open one may still have to be told. */
  readonly purgeTombstones: string;
}
