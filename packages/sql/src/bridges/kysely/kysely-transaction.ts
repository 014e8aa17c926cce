import { randomUUID } from 'node:crypto';
import type { StatementResult, StatementSender } from '../../drivers/explicit-transaction.js';
import { mariadbSender } from '../../drivers/mariadb/mariadb-transaction.js';
import { toPositional } from '../../drivers/mariadb/placeholders.js';
import { asStoreError } from '../../drivers/postgres/pg-connection.js';
import { TransactionEndedError } from '../../sql.errors.js';
import type { SqlDialect, SqlTransaction } from '../../sql-transaction.js';
import { handleOn, type LibraryConnection, refuse } from '../library-transaction.js';

/** What is needed of a `Transaction` of Kysely; a type by shape, so that every copy of the library will do. */
export interface KyselyTransactionLike {
  readonly isTransaction: boolean;
  /** Of a controlled one. */
  readonly isCommitted?: boolean;
  readonly isRolledBack?: boolean;
  getExecutor(): KyselyExecutor;
}

interface KyselyExecutor {
  readonly adapter: KyselyAdapter;
  provideConnection<T>(consumer: (connection: KyselyConnection) => Promise<T>): Promise<T>;
}

interface KyselyAdapter {
  readonly supportsReturning: boolean;
  readonly supportsTransactionalDdl: boolean;
  readonly supportsOutput?: boolean;
}

interface KyselyConnection {
  // Generics of the library fit no narrower type.
  // biome-ignore lint/suspicious/noExplicitAny: as above
  executeQuery(query: any): Promise<any>;
}

interface KyselyResult {
  readonly rows: unknown[];
  readonly numAffectedRows?: bigint;
}

/**
 * A handle on an open transaction of Kysely with `PostgresDialect` or `MysqlDialect`: `db.transaction().execute(…)` or
 * `db.startTransaction().execute()`. Whoever began it ends it. Plugins do not see its statements. On MariaDB values are
 * read as the pool of the dialect is configured: with `supportBigNumbers` and `bigNumberStrings` 64 bits stay whole.
 *
 * @throws TransactionMisuseError when it is `db` itself, or a transaction that has ended, or of another dialect
 */
export function kyselyTransaction(trx: KyselyTransactionLike): SqlTransaction {
  if (trx?.isTransaction !== true || isOver(trx)) refuse(trx, 'the trx of db.transaction().execute(async (trx) => …)');
  const executor = trx.getExecutor();
  const dialect = dialectOf(executor.adapter);
  if (!dialect) refuse(trx, 'a transaction of the PostgresDialect or the MysqlDialect of Kysely');
  return handleOn(trx, () => ({
    dialect,
    connection: acquire(executor, dialect),
    // Only a controlled one says so.
    ...(trx.isCommitted === undefined ? {} : { isOver: () => isOver(trx) }),
  }));
}

function isOver(trx: KyselyTransactionLike): boolean {
  return trx.isCommitted === true || trx.isRolledBack === true;
}

async function acquire(executor: KyselyExecutor, dialect: SqlDialect): Promise<LibraryConnection> {
  try {
    return await executor.provideConnection(async (connection) => connectionOf(dialect, connection));
  } catch (error) {
    // Nothing else is refused: the library knows the end also of those that do not say so.
    throw new TransactionEndedError(`Kysely: ${(error as Error).message}`);
  }
}

/** By what they can do, because a bundler may have changed their names. */
function dialectOf(adapter: KyselyAdapter): SqlDialect | undefined {
  const { supportsReturning, supportsTransactionalDdl, supportsOutput = false } = adapter;
  if (supportsReturning && supportsTransactionalDdl) return 'postgres';
  return supportsReturning || supportsTransactionalDdl || supportsOutput ? undefined : 'mariadb';
}

function connectionOf(dialect: SqlDialect, connection: KyselyConnection): LibraryConnection {
  const send: StatementSender =
    dialect === 'postgres'
      ? postgresSender(connection)
      : mariadbSender(async (text, params) => {
          const { sql, values } = toPositional(text, params);
          return { ...(await execute(connection, sql, values)), inTransaction: undefined };
        });
  return { watched: connection, method: 'executeQuery', send };
}

function postgresSender(connection: KyselyConnection): StatementSender {
  return async (text, params) => {
    try {
      return await execute(connection, text, params);
    } catch (error) {
      throw asStoreError(error, 'sql.statement', 'not-applied');
    }
  };
}

async function execute(
  connection: KyselyConnection,
  sql: string,
  parameters: readonly unknown[],
): Promise<StatementResult> {
  const query = { kind: 'RawNode', sqlFragments: [sql], parameters: [] };
  const compiled = { sql, parameters, query, queryId: { queryId: randomUUID() } };
  const { rows, numAffectedRows } = (await connection.executeQuery(compiled)) as KyselyResult;
  return { rows, affected: Number(numAffectedRows ?? rows.length) };
}
