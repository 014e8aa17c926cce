import { ConfigurationError, Incidents, StoreUnavailableError, withSpan } from '@lockstep/core';
import { Inject, Injectable, Optional } from '@nestjs/common';
import { ActiveTransaction } from './active-transaction.js';
import type { MigrationSet } from './migrations/migration-set.js';
import { type MigrationSession, Migrator } from './migrations/migrator.js';
import { TransactionMisuseError, TransactionRequiredError } from './sql.errors.js';
import {
  type ResolvedSqlOptions,
  resolveTransactionOptions,
  SQL_OPTIONS,
  type TransactionOptions,
} from './sql.options.js';
import { type IsolationLevel, type NotificationListener, SQL_DRIVER, type SqlDriver } from './sql-driver.js';
import type { SqlDialect, SqlTransaction } from './sql-transaction.js';
import { TRANSACTION_BRIDGE, type TransactionBridge } from './transaction-bridge.js';
import { TransactionContext } from './transaction-context.js';

const CHANNEL = /^\w{1,63}$/;

/**
 * The application's database: transactions that code further down finds by itself, and single statements.
 *
 * A transaction that is begun here goes
 * ```
 * active --> committing --> committed      known: the hooks after the commit run
 *                       --> rolled-back    the database refused; its error, or TransactionAbortedError
 *                       --> unknown        CommitOutcomeUnknownError: it happened, or it did not
 *        --> rolled-back                   the work, or a hook before the commit, rejected; its error
 * ```
 */
@Injectable()
export class Sql {
  private readonly context = new TransactionContext();
  private readonly migrator: Migrator;

  constructor(
    @Inject(SQL_DRIVER) private readonly driver: SqlDriver,
    @Inject(SQL_OPTIONS) private readonly options: ResolvedSqlOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Optional() @Inject(TRANSACTION_BRIDGE) private readonly bridge?: TransactionBridge,
  ) {
    this.migrator = new Migrator(options.migrations, driver.migrations, {
      query: (text, params) => this.query(text, params),
      session: (fn) => this.context.runOutside(() => this.migrate(fn)),
      onNewer: (set, file) =>
        incidents.report({
          code: 'SQL_DATABASE_NEWER',
          source: 'sql.migrations',
          message: 'The database has a migration that the installed package does not have',
          fields: { set, file },
        }),
    });
  }

  get dialect(): SqlDialect {
    return this.driver.dialect;
  }

  /**
   * Runs `fn` in a transaction that is found by {@link current} from everything that `fn` awaits, and commits when `fn`
   * resolves. Resolves only after a commit that is known to have happened; errors of `fn` and of the database pass
   * through by identity.
   *
   * A block that joins an open transaction does not end it: when it rejects and the rejection is caught, what it did so
   * far stays part of the transaction. Use `nested` for a step that may fail alone.
   *
   * @throws CommitOutcomeUnknownError when the answer to COMMIT was lost
   * @throws TransactionAbortedError when the error of a statement was caught, so that there was nothing to commit
   * @throws StoreUnavailableError when the database cannot be reached, or was lost before COMMIT: nothing was applied
   */
  transaction<T>(fn: (tx: SqlTransaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    return this.propagate(fn, options);
  }

  /** The open transaction of the running code: one begun or bound here, else the bridge's. */
  current(): SqlTransaction | undefined {
    return this.context.current() ?? this.bridge?.current();
  }

  /**
   * @param purpose what needs it, for the message: `outbox.publish`
   * @throws TransactionRequiredError when none is open
   * @throws TransactionEndedError when it has ended, so that what is done now would not be part of it
   */
  requireCurrent(purpose: string): SqlTransaction {
    const current = this.current();
    if (!current) throw new TransactionRequiredError(purpose);
    if (current instanceof ActiveTransaction) current.assertUsable();
    return current;
  }

  /** Makes a transaction that somebody else owns the current one of `fn`. Neither commits nor rolls back. */
  use<T>(tx: SqlTransaction, fn: () => Promise<T>): Promise<T> {
    return this.context.run(tx, undefined, fn);
  }

  /**
   * Runs one statement on a connection of its own, committed at once, also while a transaction is open.
   *
   * @throws StoreUnavailableError when there is no answer within the command timeout; `outcome` says what that means
   */
  async query<Row = Record<string, unknown>>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return this.driver.query<Row>(text, params, this.options.commandTimeoutMs);
  }

  /** Like {@link query}, for the number of rows touched. */
  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    return this.driver.execute(text, params, this.options.commandTimeoutMs);
  }

  /** Whether the database can push: see {@link listen}. */
  get canListen(): boolean {
    return this.driver.listen !== undefined;
  }

  /**
   * Calls `listener` with what is announced on `channel`, from when the promise resolves until the function that it
   * resolves to is called; `undefined` after a reconnection, because something may have been missed. One connection of
   * its own serves all channels. Through a pooler that shares backends between clients nothing is heard.
   *
   * @param channel letters, digits and `_`, at most 63
   * @throws ConfigurationError when it is no channel, or the database cannot push
   * @throws StoreUnavailableError when the server does not answer in time
   */
  async listen(channel: string, listener: NotificationListener): Promise<() => void> {
    if (!CHANNEL.test(channel))
      throw ConfigurationError.option('channel', channel, 'letters, digits and _, at most 63');
    if (!this.driver.listen) throw new ConfigurationError(`Nothing is pushed by ${this.dialect}; see Sql.canListen.`);
    return this.driver.listen(channel, listener, this.options.commandTimeoutMs);
  }

  /**
   * Sees to it that the tables of a package are there, once per process; a failure is not remembered. Uses a connection
   * of its own and takes no part in an open transaction.
   *
   * @throws MigrationError when files and tables do not belong together
   */
  ensureMigrated(set: MigrationSet): Promise<void> {
    return this.migrator.ensure(set);
  }

  /**
   * {@link ensureMigrated} for the start of an application: a database that cannot be reached is reported, and the
   * application starts; whoever needs the tables calls `ensureMigrated` again. Every other failure rejects.
   */
  async migrateAtBoot(set: MigrationSet): Promise<void> {
    try {
      await this.migrator.ensure(set);
    } catch (cause) {
      if (!(cause instanceof StoreUnavailableError)) throw cause;
      this.incidents.report({
        code: 'SQL_UNAVAILABLE_AT_BOOT',
        source: 'sql.migrations',
        message: `The tables of '${set.name}' are looked after when they are first needed`,
        cause,
      });
    }
  }

  private async propagate<T>(fn: (tx: SqlTransaction) => Promise<T>, options: TransactionOptions): Promise<T> {
    const { isolation, propagation, begin } = resolveTransactionOptions(options);
    const current = propagation === 'requires-new' ? undefined : this.current();
    if (!current) return this.begin(fn, isolation, begin === 'with-first-statement');
    assertJoinable(current, isolation);
    // Whose it is decides how it is found: binding a bridge's transaction here would hide the library's next one.
    if (propagation === 'required') return fn(current);
    if (!current.savepoint) {
      throw new TransactionMisuseError('The open transaction offers no savepoints, so nothing can be nested in it.');
    }
    return current.savepoint(() => fn(current));
  }

  private async begin<T>(
    fn: (tx: SqlTransaction) => Promise<T>,
    isolation: IsolationLevel | undefined,
    withFirstStatement = false,
  ): Promise<T> {
    const { value, afterCommit } = await withSpan(
      'lockstep.sql.transaction',
      { 'db.system.name': this.dialect === 'postgres' ? 'postgresql' : this.dialect },
      async () => {
        const session = await this.driver.begin({ ...this.options, isolation, withFirstStatement });
        const tx = new ActiveTransaction(session, this.context, this.dialect, isolation);
        return tx.run(() => fn(tx));
      },
    );
    // Outside: what a hook starts must not find a transaction that has ended, nor one that it does not belong to.
    this.context.runOutside(() => {
      for (const hook of afterCommit) this.callAfterCommit(hook);
    });
    return value;
  }

  private async migrate<T>(fn: (session: MigrationSession) => Promise<T>): Promise<T> {
    if (!this.driver.beginUntransacted) return this.begin(fn, 'read committed');
    const session = await this.driver.beginUntransacted({ ...this.options, isolation: undefined });
    let value: T;
    try {
      value = await fn({
        query: (text, params = []) => session.query(text, params),
        execute: (text, params = []) => session.execute(text, params),
      });
    } catch (error) {
      await session.rollback();
      throw error;
    }
    await session.commit();
    return value;
  }

  private callAfterCommit(hook: () => unknown): void {
    const report = (cause: unknown): void =>
      this.incidents.report({
        code: 'AFTER_COMMIT_FAILED',
        source: 'sql.transaction',
        message: 'A hook threw after the commit; the transaction itself has happened',
        cause,
      });
    try {
      // An async function passes for a `() => void`; its rejection must not go into the air.
      const result = hook();
      if (result instanceof Promise) result.catch(report);
    } catch (cause) {
      report(cause);
    }
  }
}

function assertJoinable(current: SqlTransaction, isolation: IsolationLevel | undefined): void {
  const own = current instanceof ActiveTransaction ? current : undefined;
  own?.assertUsable();
  if (isolation === undefined || own?.isolation === isolation) return;
  throw new ConfigurationError(
    `isolation '${isolation}' cannot be had by joining a transaction that was begun ` +
      `${own?.isolation ? `at '${own.isolation}'` : 'without naming one'}; use propagation 'requires-new', or name it there.`,
  );
}
