import { type SqlTransaction, TransactionEndedError } from '@lockstep/sql';

/** A transaction of no database: hooks and savepoints, as `sql.transaction` keeps them. */
export async function memoryTransaction<T>(fn: (tx: SqlTransaction) => Promise<T>): Promise<T> {
  const after: (() => void)[] = [];
  let isRolledBack = false;
  const tx: SqlTransaction = {
    dialect: 'postgres',
    query: async () => [],
    execute: async () => 0,
    afterCommit: (hook) => {
      if (isRolledBack) throw new TransactionEndedError('rolled-back');
      after.push(hook);
    },
    savepoint: async (inner) => {
      const mark = after.length;
      try {
        return await inner();
      } catch (error) {
        after.length = mark;
        throw error;
      }
    },
  };
  const value = await fn(tx).catch((error: unknown) => {
    isRolledBack = true;
    throw error;
  });
  for (const hook of after) hook();
  return value;
}
