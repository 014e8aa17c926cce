import 'reflect-metadata';
import { CoreModule, checkedDriver } from '@lockstep/core';
import { MemoryNotificationStore, NOTIFICATION_STORE, type NotificationStore } from '@lockstep/outbox/notifications';
import { describeNotificationStoreContract, NotificationBench } from '@lockstep/outbox/notifications/contract';
import { Sql, SqlModule } from '@lockstep/sql';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { memoryTransaction } from '../support/memory-transaction.js';
import { NOTIFICATION_SERVERS } from './support/notification-servers.js';

describeNotificationStoreContract({
  name: 'memory',
  open: async () => ({
    store: new MemoryNotificationStore(),
    transaction: memoryTransaction,
    dispose: async () => undefined,
  }),
});

describe.each(NOTIFICATION_SERVERS)('Notifications in $name', (server) => {
  const database = server.use();
  let app: TestingModule;
  let sql: Sql;
  let store: NotificationStore;
  const empty = () => server.empty(sql);
  const ends = () => ({
    store,
    transaction: <T>(fn: Parameters<typeof sql.transaction<T>>[0]) => sql.transaction(fn),
    dispose: async () => undefined,
  });

  beforeAll(async () => {
    app = await Test.createTestingModule({
      imports: [CoreModule, SqlModule.forRoot({ driver: server.driver(database.url, 8), commandTimeout: '5s' })],
      providers: [{ provide: NOTIFICATION_STORE, ...checkedDriver('store', server.store()) }],
    }).compile();
    app.useLogger(false);
    await app.init();
    sql = app.get(Sql);
    store = app.get(NOTIFICATION_STORE);
  });
  afterAll(() => app.close());

  describeNotificationStoreContract({
    name: server.name,
    open: async () => {
      await empty();
      return ends();
    },
  });

  describe('beside another process', () => {
    let bench: NotificationBench;
    beforeEach(async () => {
      await empty();
      bench = new NotificationBench(ends());
      await bench.register();
    });

    it('claims past what that one is claiming, and does not wait for it', async () => {
      const [first, second] = [await bench.append(), await bench.append()];
      await sql.transaction(async (tx) => {
        await tx.query('SELECT id FROM lockstep_notification WHERE id = $1 FOR UPDATE', [first]);
        expect((await bench.claim()).map(({ id }) => id)).toEqual([second]);
      });
      expect((await bench.claim()).map(({ id }) => id)).toEqual([first]);
    });

    it('cancels nothing of an endpoint that is being enabled there', async () => {
      await store.endpoints.disable(bench.endpoint, 'by hand');
      const id = await bench.append();
      let cancelling: Promise<number> | undefined;
      await sql.transaction(async (tx) => {
        await tx.execute('UPDATE lockstep_notification_endpoint SET disabled_at = NULL WHERE id = $1', [
          bench.endpoint,
        ]);
        cancelling = store.cancelPending(bench.endpoint, 'disabled', 10);
        // Long enough for one that does not wait.
        await tx.query(server.name === 'postgres' ? 'SELECT pg_sleep(0.3)' : 'SELECT SLEEP(0.3)');
      });
      expect(await cancelling).toBe(0);
      expect(await bench.state(id)).toBe('pending');
    });

    it('receives a webhook that is being handled there only if that one rolls back', async () => {
      const receive = (fail: boolean, meanwhile: () => void = () => undefined): Promise<boolean> =>
        sql.transaction(
          async (tx) => {
            const isFirst = await store.receipts.receive(tx, 'shop', 'ab'.repeat(32));
            meanwhile();
            await tx.query('SELECT 1 AS one');
            if (fail) throw new Error('no');
            return isFirst;
          },
          { propagation: 'requires-new' },
        );
      let second: Promise<boolean> | undefined;
      const first = receive(true, () => {
        second = receive(false);
      });
      await expect(first).rejects.toThrow('no');
      expect(await second).toBe(true);
      expect(await receive(false)).toBe(false);
    });
  });
});
