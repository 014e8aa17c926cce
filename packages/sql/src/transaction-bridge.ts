import type { SqlTransaction } from './sql-transaction.js';

/** Port: finds the transaction that the application's own library has open in the current asynchronous context. */
export interface TransactionBridge {
  /** The same object for the same transaction; undefined outside of one. */
  current(): SqlTransaction | undefined;
}

export const TRANSACTION_BRIDGE = Symbol('@lockstep/sql:TRANSACTION_BRIDGE');
