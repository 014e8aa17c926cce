import 'reflect-metadata';
import { explore } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endLease, SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';
import { StoreModel } from './support/store-model.js';
import { exploration, policies, scenes } from './support/store-scenes.js';

describe.each(SQL_SERVERS)('in interleavings of the real statements on $name', (server) => {
  const database = server.use();
  let opened: OpenSqlStore;
  beforeAll(async () => {
    opened = await openSqlStore(database.url);
  });
  afterAll(() => opened.close());

  describe.each(policies)('under policy %s', (policy) => {
    it.each(scenes)(
      '$title',
      async (scene) => {
        const end = (id: string) => endLease(opened.sql, id);
        const world = (): StoreModel => new StoreModel({ store: opened.store, policy, endLease: end });
        const limits = { blockedAfterTicks: 100_000, deadlockAfterMs: 5_000 };
        // Depth first, the first schedules differ only at their ends; it is the random ones that take over.
        const report = await explore(
          exploration(scene, policy, world, { maxSchedules: 5, randomSchedules: 60, ...limits }),
        );
        expect(report.schedules).toBeGreaterThanOrEqual(65);
      },
      60_000,
    );
  });
});
