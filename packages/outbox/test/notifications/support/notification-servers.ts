import type { DriverProvider } from '@lockstep/core';
import type { NotificationStore } from '@lockstep/outbox/notifications';
import { mariadbNotificationStore } from '@lockstep/outbox/notifications/mariadb';
import { postgresNotificationStore } from '@lockstep/outbox/notifications/postgres';
import type { Sql, SqlDialect, SqlDriver } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';

export interface NotificationServer {
  readonly name: SqlDialect;
  use(): { readonly url: string };
  driver(url: string, maxConnections: number): DriverProvider<SqlDriver>;
  store(): DriverProvider<NotificationStore>;
  empty(sql: Sql): Promise<void>;
}

const TABLES = ['lockstep_notification', 'lockstep_notification_endpoint', 'lockstep_webhook_receipt'];

async function empty(sql: Sql): Promise<void> {
  for (const table of TABLES) await sql.execute(`DELETE FROM ${table}`);
}

/** For `describe.each`: the same facts on both. */
export const NOTIFICATION_SERVERS: readonly NotificationServer[] = [
  {
    name: 'postgres',
    use: usePostgres,
    driver: (url, maxConnections) => pgDriver({ url, maxConnections }),
    store: postgresNotificationStore,
    empty,
  },
  {
    name: 'mariadb',
    use: useMariaDb,
    driver: (url, maxConnections) => mariadbDriver({ url, maxConnections }),
    store: mariadbNotificationStore,
    empty,
  },
];

export function serverOf(url: string): NotificationServer {
  const server = NOTIFICATION_SERVERS.find(({ name }) => (name === 'postgres') === url.startsWith('postgres'));
  if (!server) throw new Error(`no server for ${url}`);
  return server;
}
