import { type Incident, Incidents, LockstepModule } from '@lockstep/core';
import { OutboxModule, type OutboxModuleExtras, type OutboxModuleOptions } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import type { ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';

export interface OutboxApplication {
  readonly app: TestingModule;
  readonly sql: Sql;
  /** All so far. */
  readonly incidents: readonly Incident[];
}

export interface OutboxApplicationOptions extends Partial<OutboxModuleOptions>, OutboxModuleExtras {
  readonly url: string;
  readonly providers?: ModuleMetadata['providers'];
  readonly imports?: ModuleMetadata['imports'];
  /** Runs before the application starts. */
  readonly prepare?: (sql: Sql) => Promise<void>;
}

/** A Nest application with an outbox in the database at `url`, and short pauses. */
export async function startOutbox(options: OutboxApplicationOptions): Promise<OutboxApplication> {
  const { url, providers = [], imports = [], prepare, ...outbox } = options;
  const app = await Test.createTestingModule({
    imports: [
      ...imports,
      LockstepModule.forRoot({ drainTimeout: '2s' }),
      SqlModule.forRoot({ driver: pgDriver({ url, maxConnections: 8 }) }),
      OutboxModule.forRoot({
        store: postgresOutboxStore(),
        origin: 'mall',
        sweepEvery: 50,
        leaseTtl: 500,
        redeliverAfter: 300,
        redeliverAtMost: 300,
        ...outbox,
      }),
    ],
    providers,
  }).compile();
  app.useLogger(false);
  const incidents: Incident[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  const sql = app.get(Sql);
  await prepare?.(sql);
  try {
    await app.init();
  } catch (error) {
    await app.close();
    throw error;
  }
  return { app, sql, incidents };
}
