import type { SqlDialect, SqlTransaction } from '../../sql-transaction.js';
import { clientConnection, handleOn, refuse } from '../library-transaction.js';

/** What is needed of a `QueryRunner`; a type by shape, so that every copy of the library will do. */
export interface QueryRunnerLike {
  readonly isTransactionActive: boolean;
  readonly isReleased: boolean;
  /** The client of `pg` or `mysql2` that it holds. */
  // biome-ignore lint/suspicious/noExplicitAny: the library gives it no type
  connect(): Promise<any>;
  /** Of TypeORM 1. */
  readonly dataSource?: DataSourceLike;
  /** Of TypeORM 0.3. */
  readonly connection?: DataSourceLike;
}

interface DataSourceLike {
  readonly options: { readonly type: string };
}

/** What is needed of an `EntityManager`. */
export interface EntityManagerLike {
  readonly queryRunner?: QueryRunnerLike;
}

const DIALECTS: Readonly<Record<string, SqlDialect>> = { postgres: 'postgres', mysql: 'mariadb', mariadb: 'mariadb' };

/**
 * A handle on the open transaction of an `EntityManager`, as `dataSource.transaction(async (em) => …)` gives it, or of a
 * `QueryRunner`. Whoever began it ends it. MariaDB needs `mysql2`.
 *
 * @throws TransactionMisuseError when none is open there: a bare `DataSource` or its `manager`; or of another database
 */
export function typeormTransaction(owner: EntityManagerLike | QueryRunnerLike): SqlTransaction {
  const runner = runnerOf(owner);
  if (!runner?.isTransactionActive || runner.isReleased) {
    refuse(owner, 'the EntityManager of dataSource.transaction(…), or a QueryRunner after startTransaction()');
  }
  const type = String((runner.dataSource ?? runner.connection)?.options.type);
  const dialect = DIALECTS[type];
  if (!dialect) refuse(owner, `a transaction of TypeORM on postgres, mysql or mariadb, not ${type}`);
  return handleOn(runner, () => ({
    dialect,
    connection: runner.connect().then((client: object) => clientConnection(dialect, client)),
    isOver: () => !runner.isTransactionActive || runner.isReleased,
    beginsAgain: true,
  }));
}

function runnerOf(owner: EntityManagerLike | QueryRunnerLike | null | undefined): QueryRunnerLike | undefined {
  if (!owner) return undefined;
  return 'isTransactionActive' in owner ? owner : (owner as EntityManagerLike).queryRunner;
}
