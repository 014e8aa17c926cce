import type { SqlDialect } from './sql-transaction.js';

/** Isolation levels that every supported server has. */
export type IsolationLevel = 'read committed' | 'repeatable read' | 'serializable';

export interface Statement {
  readonly text: string;
  readonly params: readonly unknown[];
}

export interface BeginOptions {
  /** Where it is undefined, the driver's own: the server's default on Postgres, read committed on MariaDB. */
  readonly isolation: IsolationLevel | undefined;
  /**
   * The server may hear of the transaction together with its first statement, within that one's time. A driver that
   * cannot save anything by it begins at once.
   */
  readonly withFirstStatement?: boolean;
  /** For a connection, for BEGIN and for ROLLBACK. */
  readonly commandTimeoutMs: number;
  /** For each statement inside the transaction. */
  readonly statementTimeoutMs: number;
  readonly commitTimeoutMs: number;
}

/** The statements around a migration that differ between servers. */
export interface MigrationStatements {
  /** Gives at least one row when the table `lockstep_migrations` exists. */
  readonly findTable: string;
  readonly createTable: string;
  /** Waits until no other process migrates this database. Held until `unlock`, or the end of the session's use. */
  readonly lock: string;
  /** Where a commit does not release the lock; a rollback always does. */
  readonly unlock?: string;
  /** The statements of a file, where the server takes one at a time. */
  split?(script: string): readonly string[];
}

/** Hears of what was announced; `undefined` after a reconnection, because something may have been missed. */
export type NotificationListener = (payload: string | undefined) => void;

/**
 * Port: a database that can be talked to.
 *
 * Contract:
 * - Nothing connects before the first call, and after an outage the next call finds the server again by itself.
 * - A connection that cannot be had in time is a `StoreUnavailableError` with outcome `not-applied`. One that arrives
 *   late is given back.
 * - A statement outside a transaction that got no answer in time is a `StoreUnavailableError` with outcome `unknown`.
 * - Every other error of the database passes by identity.
 * - A server that is older than supported is a `ConfigurationError` at the first connection.
 * - Failures of idle connections are reported as incidents, never thrown into the air.
 */
export interface SqlDriver {
  readonly dialect: SqlDialect;
  readonly migrations: MigrationStatements;
  begin(options: BeginOptions): Promise<SqlSession>;
  /**
   * There where the server commits before each change of a table, so that a migration cannot be one transaction: a
   * connection on which every statement is committed at once. It ends like a transaction, which undoes nothing.
   */
  beginUntransacted?(options: BeginOptions): Promise<SqlSession>;
  query<Row>(text: string, params: readonly unknown[], timeoutMs: number): Promise<Row[]>;
  execute(text: string, params: readonly unknown[], timeoutMs: number): Promise<number>;
  /**
   * Ability: what is announced on `channel` reaches `listener` from when the promise resolves until the function that it
   * resolves to is called. A connection that was lost is opened again, and then every listener is told once.
   *
   * @throws StoreUnavailableError when the server does not answer in time
   */
  listen?(channel: string, listener: NotificationListener, timeoutMs: number): Promise<() => void>;
  /** Closes what the driver opened itself; connections that were given to it stay their owner's. */
  close(): Promise<void>;
}

/**
 * Port: the connection of one transaction, from BEGIN to its end. Ends exactly once, by `commit` or `rollback`; then
 * the connection is given back, or destroyed if its state is in doubt, and every further statement is a
 * `TransactionEndedError`: it would run in the transaction of somebody else.
 */
export interface SqlSession {
  query<Row>(text: string, params: readonly unknown[]): Promise<Row[]>;
  execute(text: string, params: readonly unknown[]): Promise<number>;
  /**
   * `rolled-back`: the server answered COMMIT by rolling back, because an earlier statement had failed.
   *
   * @throws CommitOutcomeUnknownError when COMMIT was sent and its answer was lost
   * @throws StoreUnavailableError when the connection was gone before COMMIT could be sent: nothing was applied
   * @throws the database's own error when it refused to commit: nothing was applied
   */
  commit(): Promise<'committed' | 'rolled-back'>;
  /**
   * Ability: {@link commit} in one round trip with statements that go before it, in this order.
   *
   * @throws what `commit` throws; the database's own error when it refused one of the statements: nothing was applied
   */
  commitAfter?(last: readonly Statement[]): Promise<'committed' | 'rolled-back'>;
  /** Never rejects: a rollback that cannot be said is done by the server when the connection closes. */
  rollback(): Promise<void>;
}

export const SQL_DRIVER = Symbol('@lockstep/sql:SQL_DRIVER');
