import 'reflect-metadata';
import { type Actor, explore, type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import { leaver, remover, saver, updater } from './support/session-actors.js';
import { SessionModel } from './support/session-model.js';
import { exploration, titled } from './support/session-scenes.js';
import { SteppedStore } from './support/stepped-store.js';

let cluster: RedisCluster;
let client: Cluster;
let opened: OpenRedisStore;
let one: SteppedStore;
let other: SteppedStore;
beforeAll(async () => {
  cluster = await startRedisCluster();
  client = new Cluster([...cluster.urls]);
  opened = await openRedisStore(client, 'interleaving');
  [one, other] = [new SteppedStore(opened), new SteppedStore(opened)];
}, 60_000);
afterAll(async () => {
  await opened?.close();
  client?.disconnect();
  await cluster?.stop();
});

interface Scene {
  readonly title: string;
  readonly actors: (model: SessionModel) => Readonly<Record<string, Actor>>;
}

const scenes: readonly Scene[] = [
  {
    title: 'loses no save that was answered before it (C6)',
    actors: (model) => ({ login: one.login(model), a: saver(model, 'a', 3), b: saver(model, 'b') }),
  },
  {
    title: 'leaves nobody alive after a removal of all whom the list does not name (C6, C7)',
    actors: (model) => ({ login: one.login(model), remover: remover(model), a: saver(model, 'a') }),
  },
  {
    title: 'has one successor of two, and none after a logout',
    actors: (model) => ({
      login: one.login(model),
      other: other.login(model),
      leaver: leaver(model),
      a: saver(model, 'a'),
    }),
  },
  {
    title: 'has one successor of two, and takes along what counts',
    actors: (model) => ({ login: one.login(model), other: other.login(model), x: updater(model) }),
  },
];

describe('a login in steps, into another slot of a Cluster', () => {
  describe.each([0, 1])('with %i crashes', (crashes) => {
    it.each(titled(scenes))(
      '%s',
      async (_, scene) => {
        const setup = async (): Promise<SessionModel> => {
          const model = new SessionModel(opened.store);
          await model.begin();
          return model;
        };
        const limits = { maxSchedules: 5, randomSchedules: 35, blockedAfterTicks: 100_000, deadlockAfterMs: 5_000 };
        const report = await explore(exploration(scene, setup, scene.actors, { ...limits, crashes }));
        expect(report.schedules).toBeGreaterThanOrEqual(40);
        expect(report.truncated).toBe(0);
      },
      120_000,
    );
  });
});
