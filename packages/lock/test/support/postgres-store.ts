import { Incidents } from '@lockstep/core';
import type { LockStore } from '@lockstep/lock';
import { LOCK_STORE, LockModule } from '@lockstep/lock';
import { type PostgresLockOptions, PostgresLockStore, postgresLockStore } from '@lockstep/lock/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { type INestApplicationContext, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export interface OpenedPostgres {
  readonly app: INestApplicationContext;
  readonly sql: Sql;
  readonly store: PostgresLockStore;
  readonly codes: string[];
}

@Module({})
class Root {}

/** A Postgres store as an application gets it; `lockUrl` where its sessions take another way than the rest. */
export async function openPostgres(
  url: string,
  { lockUrl = url, ...options }: Partial<PostgresLockOptions> & { readonly lockUrl?: string } = {},
): Promise<OpenedPostgres> {
  const sqlModule = SqlModule.forRoot({ driver: pgDriver({ url, maxConnections: 4 }), commandTimeout: '5s' });
  const store = postgresLockStore({ url: lockUrl, commandTimeout: '5s', ...options });
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports: [sqlModule, LockModule.forRoot({ store })] },
    { logger: false, abortOnError: false },
  );
  Logger.overrideLogger(false);
  const codes: string[] = [];
  app.get(Incidents).subscribe(({ code }) => codes.push(code));
  return { app, sql: app.get(Sql), store: app.get<PostgresLockStore>(LOCK_STORE), codes };
}

/** Two processes' worth of stores on one database. */
export async function openPostgresRivals(
  url: string,
): Promise<{ store: LockStore; rival: LockStore; close(): Promise<void> }> {
  const one = await openPostgres(url);
  const other = await openPostgres(url);
  const close = async (): Promise<void> => {
    await Promise.all([one.app.close(), other.app.close()]);
  };
  return { store: one.store, rival: other.store, close };
}
