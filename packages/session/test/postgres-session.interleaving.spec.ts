import 'reflect-metadata';
import { explore } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { SessionModel } from './support/session-model.js';
import { exploration, scenes, titled } from './support/session-scenes.js';

describe('in interleavings of the real statements', () => {
  const postgres = usePostgres();
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    opened = await openPostgresStore(postgres.url);
  });
  afterAll(() => opened.close());

  it.each(titled(scenes))(
    '%s',
    async (_title, scene) => {
      const setup = async (): Promise<SessionModel> => {
        const model = new SessionModel(opened.store);
        await model.begin();
        return model;
      };
      const report = await explore(
        exploration(scene, setup, scene.actors, {
          maxSchedules: 5,
          randomSchedules: 25,
          blockedAfterTicks: 100_000,
          deadlockAfterMs: 5_000,
          crashes: 1,
          teardown: async (model) => {
            await model.store.remove({ group: model.user });
            await model.store.remove({ group: model.visitor.group, ids: [model.visitor.id] });
          },
        }),
      );
      expect(report.schedules).toBeGreaterThanOrEqual(30);
    },
    60_000,
  );
});
