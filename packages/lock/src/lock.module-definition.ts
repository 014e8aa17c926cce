import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { memoryLockStore } from './drivers/memory/memory-lock-store.js';
import type { LockModuleOptions } from './lock.options.js';
import { LOCK_STORE, type LockStore } from './lock-store.js';

interface LockModuleExtras {
  /**
   * Where locks are kept: `redisLockStore()` of `@lockstep/lock/redis`, or a store of your own.
   * @default memoryLockStore(), which holds within one process only
   */
  readonly store?: DriverProvider<LockStore>;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<LockModuleOptions>({ moduleName: 'LockstepLock' })
    .setClassMethodName('forRoot')
    .setExtras<LockModuleExtras>({ store: memoryLockStore() }, (definition, { store = memoryLockStore() }) => ({
      ...definition,
      global: true,
      providers: [...(definition.providers ?? []), { provide: LOCK_STORE, ...checkedDriver('store', store) }],
    }))
    .build();
