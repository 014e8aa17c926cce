import type { MigrationSet, Sql } from '@lockstep/sql';
import type { OutboxStore } from '../../outbox-store.js';
import { SqlPreparedMessageStore } from '../sql/sql-prepared-message-store.js';
import { POSTGRES_PREPARED } from './prepared-statements.js';

const MIGRATIONS: MigrationSet = {
  name: 'outbox-prepared',
  directory: new URL('./prepared-migrations/', import.meta.url),
};

/** Half messages and tombstones in Postgres. */
export class PostgresPreparedMessageStore extends SqlPreparedMessageStore {
  constructor(sql: Sql, append: OutboxStore['append']) {
    super(sql, append, POSTGRES_PREPARED, MIGRATIONS);
  }
}
