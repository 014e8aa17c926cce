import { type DriverProvider, Incidents } from '@lockstep/core';
import { IDEMPOTENCY_STORE, IdempotencyModule } from '@lockstep/idempotency';
import { type SqlIdempotencyOptions, SqlIdempotencyStore, sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { Sql, type SqlDriver, SqlModule, type SqlModuleOptions } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { Test } from '@nestjs/testing';
import type { Pool } from 'mysql2/promise';
import { SECRET } from './http-app.js';

export interface OpenSqlStore {
  readonly store: SqlIdempotencyStore;
  readonly sql: Sql;
  /** Codes of the incidents so far. */
  readonly incidents: readonly string[];
  close(): Promise<void>;
}

export interface OpenSqlStoreOptions extends SqlModuleOptions {
  readonly maxConnections?: number;
  /** Of `mysql2`, instead of one that the driver makes; closed with the store. */
  readonly pool?: Pool;
  readonly store?: SqlIdempotencyOptions;
}

/** The store of an application of its own, whose sweeps and purges come too seldom to meddle. */
export async function openSqlStore(url: string, options: OpenSqlStoreOptions = {}): Promise<OpenSqlStore> {
  // On a busy machine a second is soon over.
  const { maxConnections = 6, pool, store = { purgeEvery: '1h' }, commandTimeout = '5s', ...rest } = options;
  const module = await Test.createTestingModule({
    imports: [
      SqlModule.forRoot({
        driver: pool ? mariadbDriver({ pool }) : driverOf(url, maxConnections),
        commandTimeout,
        ...rest,
      }),
      IdempotencyModule.forRoot({
        scope: 'global',
        secret: SECRET,
        sweepEvery: '1h',
        store: sqlIdempotencyStore(store),
      }),
    ],
  }).compile();
  module.useLogger(false);
  const incidents: string[] = [];
  module.get(Incidents, { strict: false }).subscribe(({ code }) => incidents.push(code));
  await module.init();
  const opened: unknown = module.get(IDEMPOTENCY_STORE, { strict: false });
  if (!(opened instanceof SqlIdempotencyStore)) throw new TypeError('the store is another one');
  const close = async (): Promise<void> => {
    await module.close();
    await pool?.end();
  };
  return { store: opened, sql: module.get(Sql), incidents, close };
}

export function driverOf(url: string, maxConnections: number): DriverProvider<SqlDriver> {
  return url.startsWith('postgres') ? pgDriver({ url, maxConnections }) : mariadbDriver({ url, maxConnections });
}
