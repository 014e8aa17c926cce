import type { DriverProvider } from '@lockstep/core';
import {
  type IdempotencyStore,
  MemoryIdempotencyStore,
  type TransactionalOutcome,
  type TransactionalRequest,
  type TransactionalRun,
  type TransactionalStore,
  type TransactionalWork,
} from '@lockstep/idempotency';
import { SqlTransactionalStore } from '@lockstep/idempotency/sql';
import { Sql } from '@lockstep/sql';

/** The mode 'transactional' on the database, everything else in memory. */
class MixedStore extends MemoryIdempotencyStore implements TransactionalStore {
  constructor(private readonly inTransaction: TransactionalStore) {
    super();
  }

  transact<T>(
    request: TransactionalRequest,
    work: (run: TransactionalRun) => Promise<TransactionalWork<T>>,
  ): Promise<TransactionalOutcome<T>> {
    return this.inTransaction.transact(request, work);
  }
}

export function transactionalStore(): DriverProvider<IdempotencyStore> {
  return { inject: [Sql], useFactory: (sql: Sql) => new MixedStore(new SqlTransactionalStore(sql)) };
}
