import type { PushingStore, TransactionalStore } from '../../store-abilities.js';
import type { ExpiredRecords } from './expired-records.js';
import type { IdempotencyDatabase } from './idempotency-database.js';
import type { SettledPushes } from './settled-pushes.js';
import { SqlIdempotencyStore } from './sql-idempotency-store.js';

/** A store whose database pushes: those who wait for an operation are told, on one connection for the process. */
export class ListeningIdempotencyStore extends SqlIdempotencyStore implements PushingStore {
  constructor(
    database: IdempotencyDatabase,
    expired: ExpiredRecords,
    transactions: TransactionalStore,
    private readonly pushes: SettledPushes,
  ) {
    super(database, expired, transactions);
  }

  watch(id: string, heard: () => void): Promise<() => Promise<void>> {
    return this.pushes.watch(id, heard);
  }
}
