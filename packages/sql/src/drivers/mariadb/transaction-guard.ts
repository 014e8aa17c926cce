import { TransactionAbortedError, TransactionMisuseError } from '../../sql.errors.js';
import { endsConnection } from './mariadb-errors.js';
import type { MariaDbResult } from './mariadb-statement.js';

const UNDO = /^ROLLBACK TO SAVEPOINT /;

type Send = (text: string) => Promise<MariaDbResult>;

/**
 * Knows whether the transaction is still open at the server. A deadlock rolls all of it back, and some statements commit
 * it; whatever came then would be committed statement by statement, each for itself, and COMMIT would succeed.
 *
 * ```
 * open --an error after which the server has no transaction--> rolled back
 *      --a success after which the server has no transaction--> committed
 * ```
 */
export class TransactionGuard {
  private lost: { readonly cause: unknown; readonly isCommitted: boolean } | undefined;

  /** Whether the server has rolled back by itself. */
  get isRolledBack(): boolean {
    return this.lost?.isCommitted === false;
  }

  /** Whether a statement has committed it. */
  get isCommitted(): boolean {
    return this.lost?.isCommitted === true;
  }

  /** @throws what says that the transaction is over */
  assertOpen(text: string): void {
    if (!this.lost) return;
    const { cause, isCommitted } = this.lost;
    if (isCommitted) throw cause;
    // Why the savepoint is undone says more than that there was nothing left to undo.
    throw UNDO.test(text) ? cause : new TransactionAbortedError(cause);
  }

  /** Runs a statement of the transaction by `send`, alone on its connection. */
  async run(text: string, statement: () => Promise<MariaDbResult>, send: Send): Promise<MariaDbResult> {
    this.assertOpen(text);
    let result: MariaDbResult;
    try {
      result = await statement();
    } catch (error) {
      if (!endsConnection(error)) await this.lookAfter(error, send);
      throw error;
    }
    if (result.inTransaction === false) {
      const cause = new TransactionMisuseError(
        'No transaction is open after this statement: it, or something before it, has ended the transaction. What was done is committed.',
      );
      this.lost = { cause, isCommitted: true };
      throw cause;
    }
    return result;
  }

  private async lookAfter(failure: unknown, send: Send): Promise<void> {
    const { rows } = await send('SELECT @@in_transaction AS open');
    const [row] = rows as { open: unknown }[];
    if (Number(row?.open) === 0) this.lost = { cause: failure, isCommitted: false };
  }
}
