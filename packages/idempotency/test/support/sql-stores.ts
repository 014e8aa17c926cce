import { CoreModule, Incidents } from '@lockstep/core';
import { SqlTransactionalStore } from '@lockstep/idempotency/sql';
import { Sql, SqlModule, type SqlModuleOptions } from '@lockstep/sql';
import { Test } from '@nestjs/testing';
import { serverOf } from './sql-servers.js';

export interface OpenSqlStore {
  readonly sql: Sql;
  readonly store: SqlTransactionalStore;
  /** Codes of the incidents so far. */
  readonly incidents: readonly string[];
  close(): Promise<void>;
}

/** A store with a pool of its own, as one process has it. */
export async function openSqlStore(url: string, options: SqlModuleOptions = {}): Promise<OpenSqlStore> {
  const driver = serverOf(url).driver(url, 5);
  const app = await Test.createTestingModule({
    // On a busy machine a second is soon over.
    imports: [CoreModule, SqlModule.forRoot({ driver, commandTimeout: '5s', ...options })],
  }).compile();
  app.useLogger(false);
  await app.init();
  const incidents: string[] = [];
  app.get(Incidents).subscribe(({ code }) => incidents.push(code));
  const sql = app.get(Sql);
  return { sql, store: new SqlTransactionalStore(sql), incidents, close: () => app.close() };
}
