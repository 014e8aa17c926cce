import { AsyncLocalStorage } from 'node:async_hooks';
import type { SqlTransaction } from './sql-transaction.js';

/** Number of a savepoint within its transaction; 0 is the transaction itself. */
export type SavepointScope = number;

export const TRANSACTION_SCOPE: SavepointScope = 0;

interface Frame {
  readonly transaction: SqlTransaction;
  readonly scope: SavepointScope | undefined;
  readonly outer: Frame | undefined;
}

/**
 * Which transaction, and which savepoint of it, the running code belongs to. Only ever entered by `run`, so that nothing
 * leaks into a context that goes on afterwards.
 */
export class TransactionContext {
  private readonly frames = new AsyncLocalStorage<Frame | undefined>();

  current(): SqlTransaction | undefined {
    return this.frames.getStore()?.transaction;
  }

  run<T>(transaction: SqlTransaction, scope: SavepointScope | undefined, fn: () => T): T {
    return this.frames.run({ transaction, scope, outer: this.frames.getStore() }, fn);
  }

  /** Runs `fn` as if it had been called from nowhere. */
  runOutside<T>(fn: () => T): T {
    return this.frames.run(undefined, fn);
  }

  /** The savepoint of `transaction` in which the caller runs; undefined where its context does not say. */
  scopeOf(transaction: SqlTransaction): SavepointScope | undefined {
    for (let frame = this.frames.getStore(); frame; frame = frame.outer) {
      if (frame.transaction === transaction && frame.scope !== undefined) return frame.scope;
    }
    return undefined;
  }
}
