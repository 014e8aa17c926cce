import type { SessionStore } from '@lockstep/session';
import type { Actor, Exploration } from '@lockstep/testing';
import { leaver, loginBy, remover, renewer, saver, updater } from './session-actors.js';
import type { SessionModel } from './session-model.js';

export interface SessionScene {
  readonly title: string;
  /** @param logins a store for each actor that logs in */
  readonly actors: (model: SessionModel, logins?: readonly SessionStore[]) => Readonly<Record<string, Actor>>;
}

export const scenes: readonly SessionScene[] = [
  {
    title: 'a login loses nothing that savers side by side were answered for',
    actors: (model, [one] = []) => ({
      a: saver(model, 'a', 2),
      b: saver(model, 'b'),
      login: loginBy(model, one),
    }),
  },
  {
    title: 'a removal of all leaves no login alive that the list does not name',
    actors: (model, [one, other] = []) => ({
      one: loginBy(model, one),
      other: loginBy(model, other),
      remover: remover(model),
    }),
  },
  {
    title: 'logins and a renewal side by side leave one session',
    actors: (model, [one, other] = []) => ({
      one: loginBy(model, one),
      other: loginBy(model, other),
      renewer: renewer(model),
    }),
  },
  {
    title: 'renewals side by side leave one session, and what is saved by either id',
    actors: (model) => ({ x: renewer(model), y: renewer(model), a: saver(model, 'a') }),
  },
  {
    title: 'a session that is removed stays so, whoever saves, renews or logs in',
    actors: (model, [one] = []) => ({
      leaver: leaver(model),
      login: loginBy(model, one),
      a: saver(model, 'a'),
      renewer: renewer(model),
    }),
  },
  {
    title: 'updates that were answered take effect once, over a renewal too',
    actors: (model) => ({ x: updater(model), y: updater(model), renewer: renewer(model) }),
  },
  {
    title: 'a login takes the updates along that were answered, and no other',
    actors: (model, [one] = []) => ({ x: updater(model), y: updater(model), login: loginBy(model, one) }),
  },
];

/** For `it.each`, which shortens a `$title`. */
export function titled<Scene extends Pick<SessionScene, 'title'>>(all: readonly Scene[]): [string, Scene][] {
  return all.map((scene) => [scene.title, scene]);
}

export function exploration(
  { title }: Pick<SessionScene, 'title'>,
  setup: () => Promise<SessionModel>,
  actors: Exploration<SessionModel>['actors'],
  limits: Partial<Exploration<SessionModel>>,
): Exploration<SessionModel> {
  return { name: title, setup, actors, invariant: (model) => model.check(), ...limits };
}
