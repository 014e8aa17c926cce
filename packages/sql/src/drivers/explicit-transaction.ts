import { AsyncLocalStorage } from 'node:async_hooks';
import { runInSavepoint } from '../savepoint.js';
import { SavepointStack } from '../savepoint-stack.js';
import type { SqlDialect, SqlTransaction } from '../sql-transaction.js';
import { type SavepointScope, TRANSACTION_SCOPE } from '../transaction-context.js';
import { StatementQueue } from './statement-queue.js';

export interface StatementResult {
  readonly rows: unknown[];
  readonly affected: number;
}

/** What of a result is asked for; some libraries can give only one of the two. */
export type Wanted = 'rows' | 'affected';

/** Sends one statement with `$n` placeholders over a connection. */
export type StatementSender = (text: string, params: readonly unknown[]) => Promise<StatementResult>;

/**
 * A handle on a transaction that the caller has begun on a client of his own, and will end himself. It has no hooks
 * around the commit, because the commit cannot be observed from here.
 */
export abstract class ExplicitTransaction implements SqlTransaction {
  abstract readonly dialect: SqlDialect;
  private readonly queue = new StatementQueue();
  private readonly savepoints = new SavepointStack();
  private readonly scope = new AsyncLocalStorage<SavepointScope>();

  /** Sends one statement; the one before it has been answered. */
  protected abstract send(text: string, params: readonly unknown[], wanted: Wanted): Promise<StatementResult>;

  async query<Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return (await this.run(text, params, 'rows')).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    return (await this.run(text, params, 'affected')).affected;
  }

  async savepoint<T>(fn: () => Promise<T>): Promise<T> {
    this.assertInnermost();
    const scope = this.savepoints.begin();
    try {
      return await runInSavepoint(
        (statement) => this.control(scope, statement),
        `lockstep_x${scope}`,
        () => this.scope.run(scope, async () => this.insideSavepoint(scope, fn)),
      );
    } finally {
      this.savepoints.end(scope);
    }
  }

  private async insideSavepoint<T>(scope: SavepointScope, fn: () => Promise<T>): Promise<T> {
    const value = await fn();
    this.savepoints.assertInnermost(scope);
    return value;
  }

  private assertInnermost(): void {
    this.savepoints.assertInnermost(this.scope.getStore() ?? TRANSACTION_SCOPE);
  }

  private async control(scope: SavepointScope, statement: string): Promise<void> {
    this.savepoints.assertOpen(scope);
    await this.queue.add(() => this.send(statement, [], 'affected'));
  }

  private async run(text: string, params: readonly unknown[], wanted: Wanted): Promise<StatementResult> {
    this.assertInnermost();
    return this.queue.add(() => this.send(text, params, wanted));
  }
}
