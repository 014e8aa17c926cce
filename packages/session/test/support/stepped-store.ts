import { RedisSessionStore } from '@lockstep/session/redis';
import type { Actor, Step } from '@lockstep/testing';
import type { OpenRedisStore } from './redis-store.js';
import { loginBy } from './session-actors.js';
import type { SessionModel } from './session-model.js';

interface OneStep {
  run(item: unknown): Promise<unknown>;
}

/** What a store is inside, by the names of its own fields: the steps of a login into another slot. */
export interface Insides {
  readonly move: { readonly steps: Record<'load' | 'create' | 'leave', OneStep> };
}

/** A store in which each step of a login into another slot is a step of the explorer. */
export class SteppedStore {
  private step: Step = async () => undefined;
  readonly store: RedisSessionStore;

  constructor({ redis, incidents }: OpenRedisStore) {
    this.store = new RedisSessionStore(redis, incidents);
    const { steps } = (this.store as unknown as Insides).move;
    for (const name of ['load', 'create', 'leave'] as const) {
      const { [name]: original } = steps;
      const run = async (item: unknown): Promise<unknown> => {
        await this.step(name);
        return original.run(item);
      };
      steps[name] = { run };
    }
  }

  login(model: SessionModel): Actor {
    return async (step) => {
      this.step = step;
      await loginBy(model, this.store)(step);
    };
  }
}
