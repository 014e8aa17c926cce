import { checkpoint } from '@lockstep/core';
import { runInSavepoint } from './savepoint.js';
import { SavepointStack } from './savepoint-stack.js';
import {
  CommitOutcomeUnknownError,
  TransactionAbortedError,
  TransactionEndedError,
  TransactionMisuseError,
} from './sql.errors.js';
import type { IsolationLevel, SqlSession, Statement } from './sql-driver.js';
import type { SqlDialect, SqlTransaction } from './sql-transaction.js';
import { type SavepointScope, TRANSACTION_SCOPE, type TransactionContext } from './transaction-context.js';

/** How far the lists had grown when a savepoint began. */
interface Marks {
  readonly before: number;
  readonly after: number;
  readonly last: number;
  readonly failure: unknown;
}

type State = 'active' | 'committing' | 'committed' | 'rolled-back' | 'unknown';

/**
 * A transaction that this package has begun and will end.
 *
 * ```
 * active --fn and beforeCommit hooks done--> committing --answer--> committed --> afterCommit hooks
 *                                            committing --refused | answered by ROLLBACK--> rolled-back
 *                                            committing --answer lost--> unknown
 * active --fn or a hook rejected--> rolled-back
 * ```
 * In every state but `active` each use is a `TransactionEndedError`. Savepoints form a stack: hooks that were
 * registered in one are cut off with it, and statements are taken only from the code that runs in the innermost one.
 */
export class ActiveTransaction implements SqlTransaction {
  private state: State = 'active';
  private readonly savepoints = new SavepointStack();
  private readonly beforeHooks: (() => Promise<void>)[] = [];
  private readonly afterHooks: (() => void)[] = [];
  private readonly last: Statement[] = [];
  private firstFailure: unknown;

  constructor(
    private readonly session: SqlSession,
    private readonly context: TransactionContext,
    readonly dialect: SqlDialect,
    readonly isolation: IsolationLevel | undefined,
  ) {}

  /**
   * Runs `fn` and the hooks before the commit in this transaction, and ends it. Resolves only after a known commit.
   *
   * @returns what `fn` gave, and what is to be called now that the commit is known
   */
  async run<T>(fn: () => Promise<T>): Promise<{ readonly value: T; readonly afterCommit: readonly (() => void)[] }> {
    let value: T;
    try {
      value = await this.context.run(this, TRANSACTION_SCOPE, async () => this.work(fn));
    } catch (error) {
      this.state = 'rolled-back';
      await this.session.rollback();
      throw error;
    }
    await this.commit();
    return { value, afterCommit: this.afterHooks };
  }

  async query<Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    this.assertUsable();
    assertLeavesTransaction(text);
    return this.noting(this.session.query<Row>(text, params));
  }

  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    this.assertUsable();
    assertLeavesTransaction(text);
    return this.noting(this.session.execute(text, params));
  }

  beforeCommit(fn: () => Promise<void>): void {
    this.assertUsable();
    this.beforeHooks.push(fn);
  }

  afterCommit(fn: () => void): void {
    this.assertUsable();
    this.afterHooks.push(fn);
  }

  lastly(text: string, params: readonly unknown[] = []): void {
    this.assertUsable();
    assertLeavesTransaction(text);
    this.last.push({ text, params });
  }

  async savepoint<T>(fn: () => Promise<T>): Promise<T> {
    this.assertUsable();
    const scope = this.savepoints.begin();
    const marks = this.marks();
    try {
      return await runInSavepoint(
        (statement) => this.control(scope, statement),
        `lockstep_${scope}`,
        () => this.context.run(this, scope, async () => this.insideSavepoint(scope, fn)),
        () => this.firstFailure,
      );
    } catch (error) {
      // One that outlived the savepoint around it has been undone with that one; the marks are of another time.
      if (this.savepoints.isOpen(scope)) this.forgetSince(marks);
      throw error;
    } finally {
      this.savepoints.end(scope);
    }
  }

  /** @throws TransactionEndedError, TransactionMisuseError when the calling code may not use it now */
  assertUsable(): void {
    this.assertActive();
    const scope = this.context.scopeOf(this);
    if (scope !== undefined) this.savepoints.assertInnermost(scope);
  }

  private assertActive(): void {
    if (this.state !== 'active') throw new TransactionEndedError(this.state);
  }

  /** A savepoint that nobody awaited may end after its transaction; the connection is somebody else's by then. */
  private async control(scope: SavepointScope, statement: string): Promise<void> {
    this.assertActive();
    this.savepoints.assertOpen(scope);
    await this.session.execute(statement, []);
  }

  private marks(): Marks {
    const { beforeHooks, afterHooks, last, firstFailure } = this;
    return { before: beforeHooks.length, after: afterHooks.length, last: last.length, failure: firstFailure };
  }

  private forgetSince(marks: Marks): void {
    this.beforeHooks.length = marks.before;
    this.afterHooks.length = marks.after;
    this.last.length = marks.last;
    this.firstFailure = marks.failure;
  }

  private async work<T>(fn: () => Promise<T>): Promise<T> {
    const value = await fn();
    // A hook may register another one.
    for (let index = 0; ; index += 1) {
      const hook = this.beforeHooks[index];
      if (!hook) break;
      await hook();
    }
    if (!this.session.commitAfter) {
      for (const { text, params } of this.last.splice(0)) await this.execute(text, params);
    }
    this.assertUsable();
    return value;
  }

  private async insideSavepoint<T>(scope: SavepointScope, fn: () => Promise<T>): Promise<T> {
    const value = await fn();
    this.savepoints.assertInnermost(scope);
    return value;
  }

  private async commit(): Promise<void> {
    this.state = 'committing';
    checkpoint('sql.commit.before');
    let outcome: 'committed' | 'rolled-back';
    try {
      outcome = await (this.session.commitAfter && this.last.length > 0
        ? this.session.commitAfter(this.last)
        : this.session.commit());
    } catch (error) {
      this.state = error instanceof CommitOutcomeUnknownError ? 'unknown' : 'rolled-back';
      throw this.firstFailure !== undefined && isRefusedInAborted(error)
        ? new TransactionAbortedError(this.firstFailure)
        : error;
    }
    this.state = outcome;
    if (outcome === 'rolled-back') throw new TransactionAbortedError(this.firstFailure);
    checkpoint('sql.commit.after');
  }

  private async noting<T>(statement: Promise<T>): Promise<T> {
    try {
      return await statement;
    } catch (error) {
      // The statement that is refused is not the one that failed: say which one was, and was caught.
      if (this.firstFailure !== undefined && isRefusedInAborted(error))
        throw new TransactionAbortedError(this.firstFailure);
      this.firstFailure ??= error;
      throw error;
    }
  }
}

/** What begins or ends a transaction, or a savepoint, behind the back of the one who counts them. */
const CONTROL =
  /^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:begin|start\s+transaction|commit|end|rollback|abort|prepare\s+transaction|savepoint|release)\b/i;

/** @throws TransactionMisuseError when the statement would end the transaction: a commit that followed would be a lie */
function assertLeavesTransaction(text: string): void {
  if (!CONTROL.test(text)) return;
  throw new TransactionMisuseError(
    'A transaction is ended by its block alone: return to commit it, reject to roll it back, and nest for a savepoint.',
  );
}

/** SQLSTATE 25P02: the transaction is aborted, and every statement but its end is refused. */
function isRefusedInAborted(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === '25P02';
}
