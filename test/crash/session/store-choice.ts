import type { DriverProvider } from '@lockstep/core';
import { RedisModule } from '@lockstep/redis';
import type { SessionRecord, SessionStore } from '@lockstep/session';
import { postgresSessionStore } from '@lockstep/session/postgres';
import { redisSessionStore } from '@lockstep/session/redis';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import type { DynamicModule } from '@nestjs/common';
import type { WorkerSetting } from './worker-setting.js';

/** A store under fire: what it is made of, and what it needs in the application. */
export interface ChosenStore {
  readonly modules: readonly DynamicModule[];
  readonly store: DriverProvider<SessionStore>;
}

export function chooseStore(setting: WorkerSetting): ChosenStore {
  const chosen = storeOf(setting);
  return setting.resurrects ? { ...chosen, store: resurrecting(chosen.store) } : chosen;
}

function storeOf({ store, storeUrl, namespace, commandTimeoutMs }: WorkerSetting): ChosenStore {
  if (store === 'postgres') {
    const driver = pgDriver({ url: storeUrl, maxConnections: 6 });
    return {
      modules: [SqlModule.forRoot({ driver, commandTimeout: commandTimeoutMs })],
      store: postgresSessionStore(),
    };
  }
  return {
    modules: [RedisModule.forRoot({ url: storeUrl, namespace, commandTimeout: commandTimeoutMs })],
    store: redisSessionStore(),
  };
}

/** The guarantee, broken: what was loaded once is written whole, whether it is still there or not. */
function resurrecting(driver: DriverProvider<SessionStore>): DriverProvider<SessionStore> {
  return {
    ...driver,
    useFactory: async (...dependencies: never[]) => {
      const store = await driver.useFactory(...dependencies);
      const seen = new Map<string, SessionRecord>();
      const load = store.load.bind(store);
      const save = store.save.bind(store);
      store.load = async (request) => {
        const record = await load(request);
        if (record) seen.set(record.key.id, record);
        return record;
      };
      store.save = async (request) => {
        const outcome = await save(request);
        const last = seen.get(request.key.id);
        if (outcome.outcome !== 'gone' || !last) return outcome;
        const { key, principal, meta, idleMs } = last;
        const attributes = new Map([...last.attributes].map(([name, { text }]) => [name, text]));
        await store.create({ draft: { key, principal, meta, idleMs, absoluteMs: 600_000 }, attributes });
        return save(request);
      };
      return store;
    },
  };
}
