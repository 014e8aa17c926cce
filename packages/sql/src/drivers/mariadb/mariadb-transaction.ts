import type { SqlTransaction } from '../../sql-transaction.js';
import { ExplicitTransaction } from '../explicit-transaction.js';
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

class MariaDbTransaction extends ExplicitTransaction {
  readonly dialect = 'mariadb';
  private readonly guard = new TransactionGuard();

  constructor(private readonly client: MariaDbClient) {
    super();
  }

  protected async send(text: string, params: readonly unknown[]): Promise<MariaDbResult> {
    assertNoImplicitCommit(text);
    try {
      return await this.guard.run(
        text,
        () => runStatement(this.client, text, params),
        (question) => runStatement(this.client, question, []),
      );
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  }
}
