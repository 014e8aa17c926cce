import 'reflect-metadata';
import { type Actor, type Exploration, explore, InvariantViolation } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';
import { type Flaw, HalfModel } from './support/half-model.js';

type Scene = (world: HalfModel) => Readonly<Record<string, Actor>>;

const exploration = (name: string, actors: Scene, flaw: Flaw = {}): Exploration<HalfModel> => ({
  name,
  setup: () => new HalfModel(flaw),
  actors,
  crashes: true,
  onCrash: (world, actor) => world.crash(actor),
  invariant: (world) => world.check(),
  finalInvariant: (world) => world.checkEnd(),
  maxSchedules: 200,
  randomSchedules: 200,
});

const SCENES: readonly (readonly [title: string, actors: Scene])[] = [
  ['work that commits beside a check-back', (world) => ({ owner: world.owner(), checker: world.checker(2) })],
  [
    'work that fails beside a check-back',
    (world) => ({ owner: world.owner({ fails: true }), checker: world.checker(2) }),
  ],
  [
    'work that commits beside two check-backs',
    (world) => ({ owner: world.owner({ observed: true }), one: world.checker(1), other: world.checker(2) }),
  ],
  [
    'work that is slower than check-back and purge',
    (world) => ({ owner: world.owner(), checker: world.checker(1), purger: world.purger() }),
  ],
  [
    'work that is parked and purged around',
    (world) => ({ owner: world.owner(), checker: world.checker(4), purger: world.purger() }),
  ],
];

describe('A half message, in every order of steps and crashes,', () => {
  it.each(SCENES)('is published once and exactly when its work is committed: %s', async (title, actors) => {
    const report = await explore(exploration(title, actors));
    expect(report.schedules).toBeGreaterThan(60);
  });

  /** The message is prepared, checked, decided and purged before the work begins. */
  const LATE =
    'owner owner checker checker checker checker checker purger purger purger owner owner owner owner owner owner';

  it.each<[string, Flaw, string | undefined]>([
    ['a check leaves no tombstone', { noTombstone: true }, undefined],
    ['a transaction may join for ever', { noDeadline: true }, LATE],
  ])('would be lost if %s, and the exploration finds it', async (title, flaw, schedule) => {
    const actors: Scene = (world) => ({ owner: world.owner(), checker: world.checker(1), purger: world.purger() });
    const model = exploration(title, actors, flaw);
    const found = explore(schedule === undefined ? model : { ...model, schedule });
    await expect(found).rejects.toThrow(InvariantViolation);
  });

  it('is refused in the very order in which it would be lost without a deadline', async () => {
    const actors: Scene = (world) => ({ owner: world.owner(), checker: world.checker(1), purger: world.purger() });
    expect(await explore({ ...exploration('late', actors), schedule: LATE })).toMatchObject({ schedules: 1 });
  });
});
