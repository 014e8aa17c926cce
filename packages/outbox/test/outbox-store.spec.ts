import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import { MemoryOutboxStore, OUTBOX_STORE, type OutboxStore } from '@lockstep/outbox';
import { outboxStoreContract } from '@lockstep/outbox/contract';
import { PostgresOutboxStore } from '@lockstep/outbox/postgres';
import { RowLeases, Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryTransaction } from './support/memory-transaction.js';

outboxStoreContract({
  name: 'memory',
  open: async () => ({
    store: new MemoryOutboxStore(),
    transaction: memoryTransaction,
    dispose: async () => undefined,
  }),
});

describe('PostgresOutboxStore', () => {
  const postgres = usePostgres();
  let app: TestingModule;
  let sql: Sql;
  let store: OutboxStore;

  beforeAll(async () => {
    app = await Test.createTestingModule({
      imports: [CoreModule, SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 8 }) })],
      providers: [
        {
          provide: OUTBOX_STORE,
          inject: [Sql, RowLeases],
          useFactory: (...of: [Sql, RowLeases]) => new PostgresOutboxStore(...of),
        },
      ],
    }).compile();
    app.useLogger(false);
    await app.init();
    sql = app.get(Sql);
    store = app.get(OUTBOX_STORE);
    await store.subscribe([]);
  });
  afterAll(() => app.close());

  outboxStoreContract({
    name: 'postgres',
    open: async () => {
      await sql.execute(
        'TRUNCATE lockstep_outbox, lockstep_outbox_inflight, lockstep_outbox_dead, lockstep_outbox_subscription',
      );
      return { store, transaction: (fn) => sql.transaction(fn), dispose: async () => undefined };
    },
  });

  it('has no index on the hot table but its primary key', async () => {
    const indexes = await sql.query<{ name: string }>(
      "SELECT indexname AS name FROM pg_indexes WHERE tablename = 'lockstep_outbox'",
    );
    expect(indexes).toEqual([{ name: 'lockstep_outbox_pkey' }]);
  });
});
