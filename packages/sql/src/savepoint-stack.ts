import { TransactionMisuseError } from './sql.errors.js';
import { type SavepointScope, TRANSACTION_SCOPE } from './transaction-context.js';

/** The savepoints of one transaction that are open, the transaction itself outermost. */
export class SavepointStack {
  private readonly open: SavepointScope[] = [TRANSACTION_SCOPE];
  private last = TRANSACTION_SCOPE;

  begin(): SavepointScope {
    this.last += 1;
    this.open.push(this.last);
    return this.last;
  }

  /** Ends a savepoint, and with it those that were begun inside and are still open. */
  end(scope: SavepointScope): void {
    const at = this.open.indexOf(scope);
    if (at >= 0) this.open.length = at;
  }

  isOpen(scope: SavepointScope): boolean {
    return this.open.includes(scope);
  }

  /** @throws TransactionMisuseError when the savepoint has ended: another one may have its place by now */
  assertOpen(scope: SavepointScope): void {
    if (this.isOpen(scope)) return;
    throw new TransactionMisuseError(
      'The savepoint that this code runs in has ended. Await everything that belongs to it.',
    );
  }

  /** @throws TransactionMisuseError when something that is done in `scope` now would end up in another savepoint */
  assertInnermost(scope: SavepointScope): void {
    this.assertOpen(scope);
    if (scope === this.open.at(-1)) return;
    throw new TransactionMisuseError(
      'A savepoint of this transaction is open; what is done outside of it now would be undone with it. Await it.',
    );
  }
}
