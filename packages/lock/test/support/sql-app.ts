import { CoreModule, Incidents } from '@lockstep/core';
import { SqlFences, type SqlFencesOptions, sqlFences } from '@lockstep/lock/sql';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { Test, type TestingModule } from '@nestjs/testing';

export interface OpenedSql {
  readonly app: TestingModule;
  readonly sql: Sql;
  readonly fences: SqlFences;
  /** Codes of the incidents so far. */
  readonly incidents: readonly string[];
}

/** An application with fences on the database at `url`. */
export async function openSql(url: string, options: SqlFencesOptions = {}): Promise<OpenedSql> {
  // On a busy machine a second is soon over.
  const sql = SqlModule.forRoot({ driver: pgDriver({ url, maxConnections: 6 }), commandTimeout: '5s' });
  const app = await Test.createTestingModule({
    imports: [CoreModule, sql],
    providers: [sqlFences(options)],
  }).compile();
  app.useLogger(false);
  await app.init();
  const incidents: string[] = [];
  app.get(Incidents).subscribe(({ code }) => incidents.push(code));
  return { app, sql: app.get(Sql), fences: app.get(SqlFences), incidents };
}
