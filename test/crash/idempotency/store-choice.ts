import { randomUUID } from 'node:crypto';
import type { DriverProvider } from '@lockstep/core';
import type { BeginRequest, IdempotencyStore } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { RedisModule } from '@lockstep/redis';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import type { DynamicModule } from '@nestjs/common';
import type { WorkerSetting } from './worker-setting.js';

/** A store under fire: what it is made of, and what it needs in the application. */
export interface ChosenStore {
  readonly modules: readonly DynamicModule[];
  readonly store: DriverProvider<IdempotencyStore>;
}

export function chooseStore(setting: WorkerSetting): ChosenStore {
  const chosen = storeOf(setting);
  return setting.ignoresClaims ? { ...chosen, store: ignoringClaims(chosen.store) } : chosen;
}

function storeOf({ store, storeUrl, namespace, commandTimeoutMs }: WorkerSetting): ChosenStore {
  if (store === 'postgres') {
    const driver = pgDriver({ url: storeUrl, maxConnections: 6 });
    return { modules: [SqlModule.forRoot({ driver, commandTimeout: commandTimeoutMs })], store: sqlIdempotencyStore() };
  }
  return {
    modules: [RedisModule.forRoot({ url: storeUrl, namespace, commandTimeout: commandTimeoutMs })],
    store: redisIdempotencyStore(),
  };
}

/** The guarantee, broken: whoever comes while another one is at it, or after it, gets a claim of its own. */
function ignoringClaims(driver: DriverProvider<IdempotencyStore>): DriverProvider<IdempotencyStore> {
  return {
    ...driver,
    useFactory: async (...dependencies: never[]) => {
      const store = await driver.useFactory(...dependencies);
      const begin = store.begin.bind(store);
      store.begin = async (request: BeginRequest) => {
        const outcome = await begin(request);
        const isTaken = outcome.outcome === 'busy' || outcome.outcome === 'completed';
        return isTaken ? begin({ ...request, id: randomUUID() }) : outcome;
      };
      return store;
    },
  };
}
