import { ConfigurationError } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';

/** @throws ConfigurationError where a program without types passed something else */
export function checkedTransaction(tx: SqlTransaction): SqlTransaction {
  const given: Partial<SqlTransaction> | null = tx;
  if (typeof given?.query === 'function' && typeof given.execute === 'function') return tx;
  throw ConfigurationError.option('tx', tx, 'a SqlTransaction, as sql.transaction() and pgTransaction() give it');
}
