import { CoreModule, Incidents } from '@lockstep/core';
import { Sql, SqlModule, type SqlModuleOptions } from '@lockstep/sql';
import { type MariaDbDriverOptions, mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import type { ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';

export interface SqlApplication {
  readonly app: TestingModule;
  readonly sql: Sql;
  /** Codes of the incidents so far. */
  readonly incidents: readonly string[];
}

export interface SqlApplicationOptions extends SqlModuleOptions {
  readonly url: string;
  readonly maxConnections?: number;
  /** Of `mysql2`, instead of one that the driver makes. */
  readonly pool?: Extract<MariaDbDriverOptions, { readonly pool: unknown }>['pool'];
  readonly providers?: ModuleMetadata['providers'];
}

/** A Nest application on the database at `url`. */
export async function startSql(options: SqlApplicationOptions): Promise<SqlApplication> {
  // On a busy machine a second is soon over; what is about timeouts sets its own.
  const { url, maxConnections = 4, pool, providers = [], commandTimeout = '5s', ...rest } = options;
  const place = pool ? { pool } : { url, maxConnections };
  const driver = url.startsWith('mysql:') ? mariadbDriver(place) : pgDriver({ url, maxConnections });
  const app = await Test.createTestingModule({
    imports: [CoreModule, SqlModule.forRoot({ driver, commandTimeout, ...rest })],
    providers,
  }).compile();
  app.useLogger(false);
  await app.init();
  const incidents: string[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident.code));
  return { app, sql: app.get(Sql), incidents };
}
