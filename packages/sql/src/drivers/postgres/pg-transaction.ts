import { runInSavepoint } from '../../savepoint.js';
import type { SqlTransaction } from '../../sql-transaction.js';
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
  private savepoints = 0;

  constructor(private readonly client: PgClient) {}

  async query<Row>(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return (await this.run(text, params)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[] = []): Promise<number> {
    return (await this.run(text, params)).rowCount ?? 0;
  }

  async savepoint<T>(fn: () => Promise<T>): Promise<T> {
    this.savepoints += 1;
    return runInSavepoint((statement) => this.run(statement, []), `lockstep_x${this.savepoints}`, fn);
  }

  private async run(text: string, params: readonly unknown[]): Promise<PgResult> {
    try {
      return lastResult(await this.queue.add(() => this.client.query(text, [...params])));
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }
}
