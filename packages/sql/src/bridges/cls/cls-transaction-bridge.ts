import type { DriverProvider } from '@lockstep/core';
import { getTransactionHostToken } from '@nestjs-cls/transactional';
import { type PgClient, pgTransaction } from '../../drivers/postgres/index.js';
import type { SqlTransaction } from '../../sql-transaction.js';
import type { TransactionBridge } from '../../transaction-bridge.js';

/** What is needed of `TransactionHost`; a type by shape, so that every version with this shape will do. */
interface TransactionHostLike {
  readonly tx: unknown;
  isTransactionActive(): boolean;
}

export interface ClsTransactionBridgeOptions<Tx> {
  /**
   * Makes a handle on the adapter's transaction. Called once per transaction.
   * @default pgTransaction, for adapters whose `tx` is a client of `pg`
   */
  readonly toTransaction?: (tx: Tx) => SqlTransaction;
  /** As given to `ClsPluginTransactional`. */
  readonly connectionName?: string;
}

/**
 * Finds the transactions of `@nestjs-cls/transactional` 3.3 and later:
 * `SqlModule.forRoot({ driver, bridge: clsTransactionBridge({ toTransaction: (tx) => pgTransaction(tx) }) })`.
 * `ClsModule` must be global, which it is by default with `ClsModule.forRoot({ global: true, … })`.
 *
 * Such a transaction is ended by its own library, and its commit cannot be observed: it has no hooks around it.
 */
export function clsTransactionBridge<Tx extends object = PgClient>(
  options: ClsTransactionBridgeOptions<Tx> = {},
): DriverProvider<TransactionBridge> {
  const toTransaction = options.toTransaction ?? ((tx: Tx) => pgTransaction(tx as unknown as PgClient));
  return {
    inject: [getTransactionHostToken(options.connectionName)],
    useFactory: (host: TransactionHostLike) => new ClsTransactionBridge(host, toTransaction),
  };
}

class ClsTransactionBridge<Tx extends object> implements TransactionBridge {
  // The same handle for the same transaction: its savepoints are counted, and others attach things to it.
  private readonly handles = new WeakMap<Tx, SqlTransaction>();

  constructor(
    private readonly host: TransactionHostLike,
    private readonly toTransaction: (tx: Tx) => SqlTransaction,
  ) {}

  current(): SqlTransaction | undefined {
    // Without a transaction `tx` is the bare connection, on which every statement would commit by itself.
    if (!this.host.isTransactionActive()) return undefined;
    const tx = this.host.tx as Tx;
    let handle = this.handles.get(tx);
    if (!handle) {
      handle = this.toTransaction(tx);
      this.handles.set(tx, handle);
    }
    return handle;
  }
}
