import { CoreModule, checkedDriver, Incidents } from '@lockstep/core';
import { SESSION_STORE } from '@lockstep/session';
import { ListeningSessionStore, type PostgresSessionOptions, postgresSessionStore } from '@lockstep/session/postgres';
import { Sql, SqlModule, type SqlModuleOptions } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Test } from '@nestjs/testing';

export interface OpenPostgresStore {
  readonly store: ListeningSessionStore;
  readonly sql: Sql;
  /** Codes of the incidents so far. */
  readonly incidents: readonly string[];
  close(): Promise<void>;
}

export interface OpenPostgresStoreOptions extends SqlModuleOptions {
  readonly maxConnections?: number;
  readonly store?: PostgresSessionOptions;
}

/** The store of an application of its own, as one process has it, whose purges come too seldom to meddle. */
export async function openPostgresStore(
  url: string,
  options: OpenPostgresStoreOptions = {},
): Promise<OpenPostgresStore> {
  // On a busy machine a second is soon over.
  const { maxConnections = 6, store = { purgeEvery: '1h' }, commandTimeout = '5s', ...rest } = options;
  const module = await Test.createTestingModule({
    imports: [CoreModule, SqlModule.forRoot({ driver: pgDriver({ url, maxConnections }), commandTimeout, ...rest })],
    providers: [{ provide: SESSION_STORE, ...checkedDriver('store', postgresSessionStore(store)) }],
  }).compile();
  module.useLogger(false);
  const incidents: string[] = [];
  module.get(Incidents, { strict: false }).subscribe(({ code }) => incidents.push(code));
  await module.init();
  const opened: unknown = module.get(SESSION_STORE);
  if (!(opened instanceof ListeningSessionStore)) throw new TypeError('the store is another one');
  return { store: opened, sql: module.get(Sql), incidents, close: () => module.close() };
}

/** As an administrator may have set it for the whole database. */
export function atIsolation(url: string, level: string): string {
  const at = new URL(url);
  at.searchParams.set('options', `-c default_transaction_isolation=${level.replaceAll(' ', '\\ ')}`);
  return at.href;
}
