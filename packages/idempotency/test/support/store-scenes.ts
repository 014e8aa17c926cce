import type { LeaseExpiryPolicy } from '@lockstep/idempotency';
import type { Actor, Exploration } from '@lockstep/testing';
import {
  adopter,
  clock,
  done,
  freed,
  issuer,
  operator,
  owner,
  released,
  sweeper,
  told,
  unheard,
  unknown,
} from './store-actors.js';
import type { StoreModel } from './store-model.js';

export interface StoreScene {
  readonly title: string;
  readonly actors: (world: StoreModel) => Readonly<Record<string, Actor>>;
  readonly isIssueNeeded?: boolean;
}

export const policies: readonly LeaseExpiryPolicy[] = ['uncertain', 'retry'];

export const scenes: readonly StoreScene[] = [
  {
    title: 'owners never live side by side, overwrite an answer or write as a zombie',
    actors: (world) => ({
      a: owner(world, 'a', done),
      b: owner(world, 'b', world.policy === 'retry' ? released : unknown),
      clock: clock(world),
      sweeper: sweeper(world),
    }),
  },
  {
    title: 'what its owner calls unknown is adopted with its steps by one at a time, and begun by nobody',
    actors: (world) => ({
      a: owner(world, 'a', unknown),
      x: adopter(world, 'x', done),
      y: adopter(world, 'y', unknown),
      b: owner(world, 'b', done),
      clock: clock(world),
    }),
  },
  {
    title: 'an operator has the last word, and a begin that nobody heard of leaves nothing uncertain',
    actors: (world) => ({
      lost: unheard(world, 'lost'),
      a: owner(world, 'a', unknown),
      operator: operator(world, world.policy === 'retry' ? told : freed),
      clock: clock(world),
      sweeper: sweeper(world),
    }),
  },
  {
    title: 'what must be issued begins after that, once, and is never told to be absent',
    actors: (world) => ({
      issuer: issuer(world),
      a: owner(world, 'a', done, true),
      b: owner(world, 'b', released, true),
      clock: clock(world),
    }),
    isIssueNeeded: true,
  },
];

export function exploration(
  scene: StoreScene,
  policy: LeaseExpiryPolicy,
  setup: () => StoreModel,
  limits: Partial<Exploration<StoreModel>>,
): Exploration<StoreModel> {
  return {
    name: `${scene.title} (policy ${policy})`,
    setup,
    actors: scene.actors,
    invariant: (world) => world.check(),
    finalInvariant: (world) => world.atTheEnd(scene.isIssueNeeded),
    crashes: 1,
    ...limits,
  };
}
