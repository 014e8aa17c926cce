import type { MigrationSet, Sql } from '@lockstep/sql';
import type { OutboxStore } from '../../outbox-store.js';
import { SqlPreparedMessageStore } from '../sql/sql-prepared-message-store.js';
import { MARIADB_PREPARED } from './prepared-statements.js';

const MIGRATIONS: MigrationSet = {
  name: 'outbox-prepared',
  directory: new URL('./prepared-migrations/', import.meta.url),
};

/** Half messages and tombstones in MariaDB. */
export class MariaDbPreparedMessageStore extends SqlPreparedMessageStore {
  constructor(sql: Sql, append: OutboxStore['append']) {
    super(sql, append, MARIADB_PREPARED, MIGRATIONS);
  }
}
