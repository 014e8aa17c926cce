import { ConfigurationError, checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder, type Provider } from '@nestjs/common';
import { memoryLockStore } from './drivers/memory/memory-lock-store.js';
import type { LockModuleOptions } from './lock.options.js';
import { LOCK_STORE, type LockStore } from './lock-store.js';

/** Where the module's further stores are injected from, by their names. */
export const NAMED_LOCK_STORES = Symbol('@lockstep/lock:NAMED_LOCK_STORES');

export type NamedLockStores = ReadonlyMap<string, LockStore<bigint | undefined>>;

type StoreProvider = DriverProvider<LockStore<bigint | undefined>>;

interface LockModuleExtras {
  /**
   * Where locks are kept: `redisLockStore()` of `@lockstep/lock/redis`, `redlockStore(…)`, `zookeeperLockStore(…)` or
   * `postgresLockStore(…)` of the folders of their names, or a store of your own. One without fences gives leases
   * without them.
   * @default memoryLockStore(), which holds within one process only
   */
  readonly store?: StoreProvider;
  /** Further stores, for `@DistributedLock({ store: 'zk', … })`. Locks of different stores know nothing of each other. */
  readonly stores?: Readonly<Record<string, StoreProvider>>;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<LockModuleOptions>({ moduleName: 'LockstepLock' })
    .setClassMethodName('forRoot')
    // Those named here stay out of the options, where they would come too late and are refused.
    .setExtras<LockModuleExtras>(
      { store: memoryLockStore(), stores: {} },
      (definition, { store = memoryLockStore(), stores = {} }) => ({
        ...definition,
        global: true,
        providers: [
          ...(definition.providers ?? []),
          { provide: LOCK_STORE, ...checkedDriver('store', store) },
          ...namedStores(stores),
        ],
      }),
    )
    .build();

/** A token for each, so that Nest resolves what each of them injects; and one for all of them. */
function namedStores(stores: Readonly<Record<string, StoreProvider>>): Provider[] {
  if (typeof stores !== 'object' || stores === null)
    throw ConfigurationError.option('stores', stores, 'drivers by name');
  const names = Object.keys(stores);
  const tokens = names.map((name) => Symbol(`LockModule store '${name}'`));
  return [
    ...Object.entries(stores).map(([name, store], index) => ({
      provide: tokens[index] as symbol,
      ...checkedDriver(`stores.${name}`, store),
    })),
    {
      provide: NAMED_LOCK_STORES,
      inject: tokens,
      useFactory: (...made: LockStore<bigint | undefined>[]): NamedLockStores =>
        new Map(made.map((store, index) => [names[index] as string, store])),
    },
  ];
}
