import 'reflect-metadata';
import { MemorySessionStore, type SessionStore } from '@lockstep/session';
import { explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import { endlessKeys } from './support/redis-ttls.js';
import { SessionModel } from './support/session-model.js';
import { exploration, scenes, titled } from './support/session-scenes.js';

const worldOf = (store: () => SessionStore) => async (): Promise<SessionModel> => {
  const model = new SessionModel(store());
  await model.begin();
  return model;
};

describe('in all interleavings', () => {
  it.each(titled(scenes))(
    '%s: memory',
    async (_, scene) => {
      const setup = worldOf(() => new MemorySessionStore());
      const report = await explore(exploration(scene, setup, scene.actors, { maxSchedules: 50_000 }));
      expect(report.exhaustive).toBe(true);
      expect(report.schedules).toBeGreaterThanOrEqual(50);
    },
    120_000,
  );
});

describe('in interleavings of the real scripts', () => {
  const server = useRedis();
  let opened: OpenRedisStore;
  beforeAll(async () => {
    opened = await openRedisStore(server.url, `${server.prefix}i`);
  });
  afterAll(() => opened.close());

  it.each(titled(scenes))(
    '%s, and every key has an end',
    async (_, scene) => {
      const setup = worldOf(() => opened.store);
      const report = await explore(
        exploration(scene, setup, scene.actors, {
          maxSchedules: 5,
          randomSchedules: 45,
          blockedAfterTicks: 100_000,
          deadlockAfterMs: 5_000,
          crashes: 1,
          finalInvariant: async () => expect(await endlessKeys(opened.redis)).toEqual([]),
          teardown: async (model) => {
            await model.store.remove({ group: model.user });
            await model.store.remove({ group: model.visitor.group, ids: [model.visitor.id] });
          },
        }),
      );
      expect(report.schedules).toBeGreaterThanOrEqual(50);
    },
    120_000,
  );
});
