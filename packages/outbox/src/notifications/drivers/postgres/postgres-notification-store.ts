import type { DriverProvider } from '@lockstep/core';
import { type MigrationSet, Sql } from '@lockstep/sql';
import type { NotificationStore } from '../../notification-store.js';
import { SqlNotificationStore } from '../sql/sql-notification-store.js';

const MIGRATIONS: MigrationSet = { name: 'notifications', directory: new URL('./migrations/', import.meta.url) };

/** Keeps notifications in the Postgres of `SqlModule`, whose transactions they join. Creates its tables at first use. */
export function postgresNotificationStore(): DriverProvider<NotificationStore> {
  return {
    inject: [Sql],
    useFactory: async (sql: Sql) => {
      await sql.migrateAtBoot(MIGRATIONS);
      return new SqlNotificationStore(sql, MIGRATIONS);
    },
  };
}
