import { ConfigurationError, DrainService, type DriverProvider, Incidents } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import type { IdempotencyStore } from '../../idempotency-store.js';
import { ExpiredRecords } from './expired-records.js';
import { IdempotencyDatabase, idempotencyTables } from './idempotency-database.js';
import type { IdempotencyTable } from './idempotency-table.js';
import { ListeningIdempotencyStore } from './listening-idempotency-store.js';
import { MariaDbIdempotencyTable } from './mariadb/mariadb-idempotency-table.js';
import { PostgresIdempotencyTable } from './postgres/postgres-idempotency-table.js';
import { SettledPushes } from './settled-pushes.js';
import { resolveSqlIdempotencyOptions, type SqlIdempotencyOptions } from './sql-idempotency.options.js';
import { SqlIdempotencyStore } from './sql-idempotency-store.js';
import { SqlTransactionalStore } from './transactional-store.js';

export type { SqlIdempotencyOptions } from './sql-idempotency.options.js';
export { SqlIdempotencyStore } from './sql-idempotency-store.js';
export { SqlInbox, sqlInbox } from './sql-inbox.js';
export { SqlTransactionalStore } from './transactional-store.js';

/**
 * Records in the database of `SqlModule`, in tables that are made when the application starts, or at first use where the
 * database was down by then. One round trip per call.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `SqlModule` is not imported
 */
export function sqlIdempotencyStore(options: SqlIdempotencyOptions = {}): DriverProvider<IdempotencyStore> {
  const { purgeEveryMs } = resolveSqlIdempotencyOptions(options);
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: Sql, optional: true }, Incidents, DrainService],
    useFactory: async (sql: Sql | undefined, incidents: Incidents, drains: DrainService) => {
      if (!sql) throw new ConfigurationError('sqlIdempotencyStore() needs SqlModule.forRoot(…) among the imports.');
      await sql.migrateAtBoot(idempotencyTables(sql));
      const database = new IdempotencyDatabase(sql, tableOf(sql));
      const expired = new ExpiredRecords(database, {
        everyMs: purgeEveryMs,
        onError: (cause) => report(incidents, cause),
      });
      drains.register({ name: 'idempotency purge', phase: 'work', drain: () => expired.stop() });
      const transactions = new SqlTransactionalStore(sql);
      if (!sql.canListen) return new SqlIdempotencyStore(database, expired, transactions);
      return new ListeningIdempotencyStore(database, expired, transactions, new SettledPushes(sql));
    },
  };
}

function tableOf(sql: Sql): IdempotencyTable {
  return sql.dialect === 'mariadb' ? new MariaDbIdempotencyTable(sql) : new PostgresIdempotencyTable(sql);
}

function report(incidents: Incidents, cause: unknown): void {
  incidents.report({
    code: 'IDEMPOTENCY_PURGE_FAILED',
    source: 'idempotency.sql',
    message: 'The tables grow until a later purge succeeds',
    cause,
  });
}
