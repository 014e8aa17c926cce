import type { SqlDialect, SqlTransaction } from '../../sql-transaction.js';
import { clientConnection, handleOn, refuse } from '../library-transaction.js';

/** What is needed of a `Knex.Transaction`; a type by shape, so that every copy of the library will do. */
export interface KnexTransactionLike {
  readonly isTransaction?: boolean;
  isCompleted(): boolean;
  // biome-ignore lint/suspicious/noExplicitAny: the library gives it no type
  readonly client: any;
}

interface KnexClient {
  readonly driverName?: unknown;
  acquireConnection(): Promise<object>;
}

const DIALECTS: Readonly<Record<string, SqlDialect>> = { pg: 'postgres', mysql2: 'mariadb' };

/**
 * A handle on an open transaction of Knex, with `client` `pg` or `mysql2`: `knex.transaction(async (trx) => …)` or
 * `await knex.transaction()`. Whoever began it ends it.
 *
 * @throws TransactionMisuseError when it is Knex itself, or a transaction that has ended, or of another database
 */
export function knexTransaction(trx: KnexTransactionLike): SqlTransaction {
  if (trx?.isTransaction !== true || trx.isCompleted()) refuse(trx, 'the trx of knex.transaction(…) before it ends');
  const client = trx.client as KnexClient;
  const dialect = DIALECTS[String(client.driverName)];
  if (!dialect) refuse(trx, `a transaction of Knex with the client pg or mysql2, not ${String(client.driverName)}`);
  return handleOn(trx, () => ({
    dialect,
    connection: client.acquireConnection().then((connection) => clientConnection(dialect, connection)),
    isOver: () => trx.isCompleted(),
  }));
}
