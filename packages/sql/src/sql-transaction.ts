/** What a statement is written for, beyond what all servers share. */
export type SqlDialect = 'postgres' | 'mariadb';

/**
 * Port: a transaction that somebody has begun. Whoever holds it may run statements in it; only its owner commits it.
 *
 * Contract:
 * - Placeholders are `$1`, `$2` … in every dialect. Ids and times are cast to text by whoever writes the statement.
 * - Errors of the database arrive as the client library threw them. A connection that is gone is a
 *   `StoreUnavailableError` with outcome `not-applied`: what is not committed is rolled back by the server.
 * - Statements that are sent at the same time run one after the other, in the order in which they were sent.
 * - `beforeCommit`, `afterCommit` and `savepoint` are there where the owner lets itself be observed. Where they are
 *   missing, do at once what would have waited for them, and leave the rest to a sweep.
 */
export interface SqlTransaction {
  readonly dialect: SqlDialect;
  /** Rows of the result. */
  query<Row = Record<string, unknown>>(text: string, params?: readonly unknown[]): Promise<Row[]>;
  /** Number of rows that the statement touched. */
  execute(text: string, params?: readonly unknown[]): Promise<number>;
  /**
   * Runs `fn` as the last thing inside the transaction, in the order of registration; a rejection rolls back.
   * Forgotten when the savepoint in which it was registered is rolled back.
   */
  beforeCommit?(fn: () => Promise<void>): void;
  /**
   * Executes the statement as the last thing before the commit, behind every hook, and together with it where the server
   * takes both in one round trip. Nothing can be read of it any more; its error rolls back and is that of the
   * transaction. Forgotten like {@link beforeCommit}.
   */
  lastly?(text: string, params?: readonly unknown[]): void;
  /**
   * Calls `fn` once the commit is known to have happened, and never when its outcome is unknown. It must not throw: what
   * it throws is reported, for the transaction cannot fail any more. Forgotten like {@link beforeCommit}.
   */
  afterCommit?(fn: () => void): void;
  /**
   * Runs `fn` in a savepoint: its rejection undoes what it did, and passes through; the transaction lives on. One
   * savepoint at a time: while it is open, a statement from outside of it is refused, for it would be undone with it.
   */
  savepoint?<T>(fn: () => Promise<T>): Promise<T>;
}
