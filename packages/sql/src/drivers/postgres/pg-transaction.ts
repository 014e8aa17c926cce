import { AsyncLocalStorage } from 'node:async_hooks';
import { runInSavepoint } from '../../savepoint.js';
import { SavepointStack } from '../../savepoint-stack.js';
import type { SqlTransaction } from '../../sql-transaction.js';
import { type SavepointScope, TRANSACTION_SCOPE } from '../../transaction-context.js';
import { lastResult, type PgClient, type PgResult } from './pg-client.js';
import { asStoreError } from './pg-connection.js';
import { StatementQueue } from './statement-queue.js';

/**
 * An explicit handle on a transaction that the caller has begun on a client of `pg`, and will end himself. It has no
 * hooks around the commit, because the commit cannot be observed from here.
 */
export function pgTransaction(client: PgClient): SqlTransaction {
  return new PgTransaction(client);
}

class PgTransaction implements SqlTransaction {
  readonly dialect = 'postgres';
  private readonly queue = new StatementQueue();
  private readonly savepoints = new SavepointStack();
  private readonly scope = new AsyncLocalStorage<SavepointScope>();

  constructor(private readonly client: PgClient) {}

  async query<Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return (await this.run(text, params)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    return (await this.run(text, params)).rowCount ?? 0;
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
    await this.send(statement, []);
  }

  private async run(text: string, params: readonly unknown[]): Promise<PgResult> {
    this.assertInnermost();
    return this.send(text, params);
  }

  private async send(text: string, params: readonly unknown[]): Promise<PgResult> {
    try {
      return lastResult(await this.queue.add(() => this.client.query(text, [...params])));
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }
}
