import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { IsolationLevel } from './sql-driver.js';

/** What `migrations` may be; see {@link SqlModuleOptions.migrations}. */
export type MigrationMode = 'auto' | 'verify' | 'off';

export interface SqlModuleOptions {
  /**
   * What happens to the tables of Lockstep when a package first needs them. `auto` creates and updates them, `verify`
   * fails when something is missing, `off` trusts that they are there. The application's own tables are never touched.
   * @default 'auto'
   */
  readonly migrations?: MigrationMode;
  /** For a connection, for BEGIN and ROLLBACK, and for each statement outside a transaction. @default '1s' */
  readonly commandTimeout?: Duration;
  /** For each statement inside a transaction; it may have to wait for the locks of others. @default '30s' */
  readonly statementTimeout?: Duration;
  /** For COMMIT. Longer than a command, because giving up means not knowing. @default '5s' */
  readonly commitTimeout?: Duration;
  /** How long the inbox remembers that a message was received. @default '14d' */
  readonly inboxRetention?: Duration;
  /** Pause between two purges of the inbox. @default '10m' */
  readonly inboxPurgeEvery?: Duration;
}

export interface ResolvedSqlOptions {
  readonly migrations: MigrationMode;
  readonly commandTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly commitTimeoutMs: number;
  readonly inboxRetentionMs: number;
  readonly inboxPurgeEveryMs: number;
}

/**
 * How a block relates to a transaction that is open already. `required`: joins it, or begins one. `requires-new`: always
 * begins one of its own, on a second connection. `nested`: a savepoint in it, or begins one.
 */
export type Propagation = 'required' | 'requires-new' | 'nested';

/**
 * When the database hears of a transaction. `at-once`: before the block runs, which therefore does not run while the
 * database cannot be reached. `with-first-statement`: together with the first statement, which saves a round trip on
 * Postgres and changes nothing on MariaDB; only over a connection that was used within the last second, because one that
 * has died since is found out by that statement, within `statementTimeout`. The block may have run until there; a block
 * without a statement commits without asking anyone. The values of that statement are written into its text, where the
 * server's log may show them.
 */
export type BeginMode = 'at-once' | 'with-first-statement';

export interface TransactionOptions {
  /** Of the transaction that is begun; a block that joins cannot ask for another one. @default the server's own on Postgres, read committed on MariaDB */
  readonly isolation?: IsolationLevel;
  /** @default 'required' */
  readonly propagation?: Propagation;
  /** Of a transaction that is begun; a block that joins finds it begun. @default 'at-once' */
  readonly begin?: BeginMode;
}

export interface ResolvedTransactionOptions {
  readonly isolation: IsolationLevel | undefined;
  readonly propagation: Propagation;
  readonly begin: BeginMode;
}

export const SQL_OPTIONS = Symbol('@lockstep/sql:SQL_OPTIONS');

const MODES: readonly MigrationMode[] = ['auto', 'verify', 'off'];
const ISOLATIONS: readonly IsolationLevel[] = ['read committed', 'repeatable read', 'serializable'];
const PROPAGATIONS: readonly Propagation[] = ['required', 'requires-new', 'nested'];
const BEGIN_MODES: readonly BeginMode[] = ['at-once', 'with-first-statement'];
const TIMEOUT = { minMs: 1, maxMs: 3_600_000 };
const DAY_MS = 86_400_000;

/** @throws ConfigurationError naming the option and its value */
export function resolveSqlOptions(options: SqlModuleOptions): ResolvedSqlOptions {
  return Object.freeze({
    migrations: oneOf(options.migrations ?? 'auto', 'migrations', MODES),
    commandTimeoutMs: durationMs(options.commandTimeout ?? '1s', 'commandTimeout', TIMEOUT),
    statementTimeoutMs: durationMs(options.statementTimeout ?? '30s', 'statementTimeout', TIMEOUT),
    commitTimeoutMs: durationMs(options.commitTimeout ?? '5s', 'commitTimeout', TIMEOUT),
    inboxRetentionMs: durationMs(options.inboxRetention ?? '14d', 'inboxRetention', { minMs: DAY_MS }),
    inboxPurgeEveryMs: durationMs(options.inboxPurgeEvery ?? '10m', 'inboxPurgeEvery', { minMs: 1_000 }),
  });
}

/** @throws ConfigurationError naming the option and its value */
export function resolveTransactionOptions(options: TransactionOptions): ResolvedTransactionOptions {
  if (typeof options !== 'object') throw ConfigurationError.option('@Transactional', options, 'an object of options');
  return {
    isolation: options.isolation && oneOf(options.isolation, 'isolation', ISOLATIONS),
    propagation: oneOf(options.propagation ?? 'required', 'propagation', PROPAGATIONS),
    begin: oneOf(options.begin ?? 'at-once', 'begin', BEGIN_MODES),
  };
}

function oneOf<T extends string>(value: T, option: string, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw ConfigurationError.option(option, value, allowed.map((one) => `'${one}'`).join(', '));
}
