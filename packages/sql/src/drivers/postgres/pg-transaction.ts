import type { SqlTransaction } from '../../sql-transaction.js';
import { ExplicitTransaction, type StatementResult, type StatementSender } from '../explicit-transaction.js';
import { lastResult, type PgClient } from './pg-client.js';
import { asStoreError } from './pg-connection.js';

/**
 * An explicit handle on a transaction that the caller has begun on a client of `pg`, and will end himself. It has no
 * hooks around the commit, because the commit cannot be observed from here.
 */
export function pgTransaction(client: PgClient): SqlTransaction {
  return new PgTransaction(client);
}

/** Sends what is part of a transaction that somebody else has begun on the client. */
export function pgSender(client: PgClient): StatementSender {
  return async (text, params) => {
    try {
      const { rows, rowCount } = lastResult(await client.query(text, [...params]));
      return { rows, affected: rowCount ?? 0 };
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  };
}

class PgTransaction extends ExplicitTransaction {
  readonly dialect = 'postgres';
  private readonly sender: StatementSender;

  constructor(client: PgClient) {
    super();
    this.sender = pgSender(client);
  }

  protected send(text: string, params: readonly unknown[]): Promise<StatementResult> {
    return this.sender(text, params);
  }
}
