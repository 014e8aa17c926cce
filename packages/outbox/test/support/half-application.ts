import { type Incident, Incidents, LockstepModule } from '@lockstep/core';
import {
  MemoryOutboxStore,
  OUTBOX_STORE,
  OutboxModule,
  type OutboxStore,
  type PreparedMessageStore,
} from '@lockstep/outbox';
import { RowLeases, Sql, SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import type { ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { RelayWakeUp } from '../../dist/relay/relay-wake-up.js';
import { CheckBackPass } from '../../dist/transactional/check-back-pass.js';
import { TombstonePass } from '../../dist/transactional/tombstone-pass.js';
import type { PreparedServer } from './prepared-stores.js';

export interface HalfApplication {
  readonly app: TestingModule;
  readonly sql: Sql;
  readonly store: PreparedMessageStore;
  readonly incidents: readonly Incident[];
  /** Shards whose relay was woken. */
  readonly woken: readonly number[];
  /** In how many milliseconds something with a delay was said to be due. */
  readonly expected: readonly number[];
  /** One look at everything that is due. */
  check(): Promise<void>;
  /** Parsed bodies of what stands in the outbox. */
  published(): Promise<unknown[]>;
}

/**
 * An application that prepares messages on `server`. Without `relay` nothing runs in it by itself, and every check is called
 * for.
 */
export async function startHalves(
  server: PreparedServer,
  url: string,
  providers: ModuleMetadata['providers'] = [],
  { relay = false }: { readonly relay?: boolean } = {},
): Promise<HalfApplication> {
  const store = {
    inject: [Sql, RowLeases],
    useFactory: async (sql: Sql, leases: RowLeases): Promise<OutboxStore> =>
      Object.assign(new MemoryOutboxStore(), { prepared: await server.store(sql, leases) }),
  };
  const app = await Test.createTestingModule({
    imports: [
      LockstepModule.forRoot({ drainTimeout: '2s' }),
      SqlModule.forRoot({
        driver: server.name === 'postgres' ? pgDriver({ url, maxConnections: 8 }) : mariadbDriver({ url }),
      }),
      OutboxModule.forRoot({
        store,
        origin: 'mall',
        run: { relay, consumers: false },
        sweepEvery: '20ms',
        topics: { ordered: { ordered: 'strict' } },
      }),
    ],
    providers,
  }).compile();
  app.useLogger(false);
  const incidents: Incident[] = [];
  const woken: number[] = [];
  const expected: number[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  app.get(RelayWakeUp, { strict: false }).subscribe({
    wake: (shard) => woken.push(shard) > 0,
    expect: (inMs) => void expected.push(inMs),
    wakeAll: () => undefined,
  });
  try {
    await app.init();
  } catch (error) {
    await app.close();
    throw error;
  }
  const sql = app.get(Sql);
  const tombstones = app.get(TombstonePass, { strict: false });
  const checks = app.get(CheckBackPass, { strict: false });
  return {
    app,
    sql,
    store: app.get<OutboxStore>(OUTBOX_STORE, { strict: false }).prepared,
    incidents,
    woken,
    expected,
    check: async () => {
      while (await tombstones.run());
      while (await checks.run());
      await checks.settled();
    },
    published: async () => {
      const rows = await sql.query<{ payload: string }>(server.published);
      return rows.map(({ payload }) => JSON.parse(payload) as unknown);
    },
  };
}
