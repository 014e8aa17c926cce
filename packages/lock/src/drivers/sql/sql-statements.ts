import type { SqlTransaction } from '@lockstep/sql';

/** Where a guard runs: the caller's transaction, or `Sql`, which commits each statement at once. */
export type SqlStatements = Pick<SqlTransaction, 'dialect' | 'query' | 'execute'>;
