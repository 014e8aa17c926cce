import type { SqlTransaction } from '../../sql-transaction.js';
import { ExplicitTransaction, type StatementResult, type StatementSender } from '../explicit-transaction.js';
import { assertNoImplicitCommit } from './implicit-commit.js';
import { type MariaDbCallbackClient, type MariaDbClient, promised } from './mariadb-client.js';
import { asStoreError } from './mariadb-connection.js';
import { type MariaDbResult, runStatement } from './mariadb-statement.js';
import { TransactionGuard } from './transaction-guard.js';

/**
 * An explicit handle on a transaction that the caller has begun on a connection of `mysql2`, and will end himself. It has
 * no hooks around the commit, because the commit cannot be observed from here.
 */
export function mariadbTransaction(connection: MariaDbClient | MariaDbCallbackClient): SqlTransaction {
  return new MariaDbTransaction(promised<MariaDbClient>(connection));
}

/** Sends what is part of one transaction that somebody else has begun, by `run`, which sends one statement. */
export function mariadbSender(
  run: (text: string, params: readonly unknown[]) => Promise<MariaDbResult>,
): StatementSender {
  const guard = new TransactionGuard();
  return async (text, params) => {
    assertNoImplicitCommit(text);
    try {
      return await guard.run(
        text,
        () => run(text, params),
        (question) => run(question, []),
      );
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  };
}

class MariaDbTransaction extends ExplicitTransaction {
  readonly dialect = 'mariadb';
  private readonly sender: StatementSender;

  constructor(client: MariaDbClient) {
    super();
    this.sender = mariadbSender((text, params) => runStatement(client, text, params));
  }

  protected send(text: string, params: readonly unknown[]): Promise<StatementResult> {
    return this.sender(text, params);
  }
}
