import 'reflect-metadata';
import { explore, seed } from '@lockstep/testing';
import { useMariaDb, usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GateDatabase, type GateScene, GateWorld, openGate } from './support/gate-world.js';

const SERVERS = [
  { name: 'postgres', use: usePostgres },
  { name: 'mariadb', use: useMariaDb },
] as const;

const SCENES: readonly (readonly [string, GateScene])[] = [
  ['one by one', { batch: false, keys: 2, messages: 3 }],
  ['in batches', { batch: true, keys: 2, messages: 3 }],
];

const SCHEDULES = 25;

describe.each(SERVERS)('Two consumers, copies, shuffled deliveries and a lost connection, on $name', ({ use }) => {
  const server = use();
  let database: GateDatabase;
  beforeAll(async () => {
    database = await openGate(server.url);
  });
  afterAll(() => database.app.close());

  it.each(SCENES)(
    'every effect of a key happens once and in sequence, %s',
    async (_, scene) => {
      const report = await explore<GateWorld>({
        name: 'sequence gate',
        setup: () => new GateWorld(database, scene, seed()),
        actors: (world) => ({
          a: (step) => world.consume('a', step),
          b: (step) => world.consume('b', step),
        }),
        crashes: 1,
        onCrash: (world, actor) => world.crash(actor),
        finalInvariant: async (world) => {
          // What was in the hands of whoever crashed, or ended early, is delivered again.
          await world.consume('last', async () => undefined);
          expect(world.done.size).toBe(world.all.length);
          const all = Array.from({ length: scene.messages }, (_, index) => index + 1);
          const expected = Array.from({ length: scene.keys }, (_, key) => [
            `${world.run}/${key}`,
            key === 0 ? all.filter((n) => n !== 2) : all,
          ]);
          expect([...(await world.effects())].sort()).toEqual(expected);
          expect(await world.positions()).toEqual(expected.map(() => String(scene.messages)));
        },
        // Real statements: the schedules are drawn, and an actor that waits for a lock is told by its silence.
        maxSchedules: 0,
        randomSchedules: SCHEDULES,
        maxSteps: 1_000,
        blockedAfterTicks: 500,
        deadlockAfterMs: 10_000,
      });
      expect(report).toMatchObject({ schedules: SCHEDULES, truncated: 0 });
    },
    60_000,
  );
});
