import type { SqlDialect, SqlTransaction } from '@lockstep/sql';
import type { ReceiptStore } from '../../notification-store.js';
import type { NotificationDatabase } from './notification-database.js';
import { SQL_TERMS } from './sql-terms.js';

interface ReceiptStatements {
  /** Touches one row for the first copy, and none or two for every other. $1 receiver, $2 hash of the id. */
  readonly receive: string;
  /** $1 ms. */
  readonly purge: string;
}

const INSERT = 'INSERT INTO lockstep_webhook_receipt (receiver, id_hash) VALUES ($1, $2)';

const STATEMENTS: Readonly<Record<SqlDialect, ReceiptStatements>> = {
  postgres: {
    receive: `${INSERT} ON CONFLICT DO NOTHING`,
    purge: `DELETE FROM lockstep_webhook_receipt WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM lockstep_webhook_receipt WHERE received_at < ${SQL_TERMS.postgres.earlier('$1')}
      LIMIT 1000 FOR UPDATE SKIP LOCKED
    ))`,
  },
  mariadb: {
    // Not IGNORE, which turns every other error into a warning too. A row that is updated counts twice, if it changes.
    receive: `${INSERT} ON DUPLICATE KEY UPDATE copies = copies + 1`,
    purge: `DELETE FROM lockstep_webhook_receipt WHERE received_at < ${SQL_TERMS.mariadb.earlier('$1')} LIMIT 1000`,
  },
};

export class SqlReceiptStore implements ReceiptStore {
  private readonly statements: ReceiptStatements;

  constructor(private readonly database: NotificationDatabase) {
    this.statements = STATEMENTS[database.sql.dialect];
  }

  async receive(transaction: SqlTransaction, receiver: string, idHash: string): Promise<boolean> {
    await this.database.ready();
    return (await transaction.execute(this.statements.receive, [receiver, idHash])) === 1;
  }

  purge(olderThanMs: number): Promise<number> {
    return this.database.execute(this.statements.purge, [olderThanMs]);
  }
}
