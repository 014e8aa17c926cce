import type { SqlDialect, SqlTransaction } from '../../sql-transaction.js';
import { clientConnection, handleOn, refuse } from '../library-transaction.js';

/** What is needed of the `tx` of `db.transaction(…)`; a type by shape, so that every copy of the library will do. */
export interface DrizzleTransactionLike {
  /** What is no transaction has none. */
  rollback(): never;
}

/** What such a `tx` is made of, which the library's types leave out. */
interface DrizzleTransaction {
  readonly nestedIndex?: unknown;
  readonly session?: { readonly client?: DrizzleClient };
}

interface DrizzleClient {
  readonly query?: unknown;
  readonly execute?: unknown;
  /** Only pools have these. */
  readonly totalCount?: unknown;
  readonly getConnection?: unknown;
}

/**
 * A handle on an open transaction of Drizzle over `drizzle-orm/node-postgres` or `drizzle-orm/mysql2`. Whoever began it
 * ends it.
 *
 * @throws TransactionMisuseError when it is `db` itself, or of another driver
 */
export function drizzleTransaction(tx: DrizzleTransactionLike): SqlTransaction {
  const { nestedIndex, session } = (tx ?? {}) as DrizzleTransaction;
  if (typeof nestedIndex !== 'number') refuse(tx, 'the tx of db.transaction(async (tx) => …)');
  const client = session?.client;
  const dialect = dialectOf(client);
  if (!client || !dialect) refuse(tx, 'a transaction of drizzle-orm/node-postgres or drizzle-orm/mysql2');
  return handleOn(tx, () => ({ dialect, connection: Promise.resolve(clientConnection(dialect, client)) }));
}

function dialectOf(client: DrizzleClient | undefined): SqlDialect | undefined {
  if (typeof client?.query !== 'function' || 'totalCount' in client || 'getConnection' in client) return undefined;
  return typeof client.execute === 'function' ? 'mariadb' : 'postgres';
}
