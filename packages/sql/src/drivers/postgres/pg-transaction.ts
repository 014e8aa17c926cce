import type { SqlTransaction } from '../../sql-transaction.js';
import { ExplicitTransaction, type StatementResult } from '../explicit-transaction.js';
import { lastResult, type PgClient } from './pg-client.js';
import { asStoreError } from './pg-connection.js';

/**
 * An explicit handle on a transaction that the caller has begun on a client of `pg`, and will end himself. It has no
 * hooks around the commit, because the commit cannot be observed from here.
 */
export function pgTransaction(client: PgClient): SqlTransaction {
  return new PgTransaction(client);
}

class PgTransaction extends ExplicitTransaction {
  readonly dialect = 'postgres';

  constructor(private readonly client: PgClient) {
    super();
  }

  protected async send(text: string, params: readonly unknown[]): Promise<StatementResult> {
    try {
      const { rows, rowCount } = lastResult(await this.client.query(text, [...params]));
      return { rows, affected: rowCount ?? 0 };
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }
}
