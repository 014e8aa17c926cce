import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { memorySessionStore } from './drivers/memory/index.js';
import type { KeepingDriver } from './keeping/session-keeping.js';
import type { SessionModuleOptions } from './session.options.js';
import { SESSION_STORE, type SessionStore } from './session-store.js';

export interface SessionModuleExtras {
  /** Where sessions are kept. @default memorySessionStore(), right for one process only */
  readonly store?: DriverProvider<SessionStore | KeepingDriver> | undefined;
}

export const { ASYNC_OPTIONS_TYPE, ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<SessionModuleOptions>({ moduleName: 'Session' })
    .setClassMethodName('forRoot')
    .setExtras<SessionModuleExtras>({ store: undefined }, (definition, { store }) => ({
      ...definition,
      global: true,
      providers: [
        ...(definition.providers ?? []),
        // Only a store that was not named is the one in memory: null may be a missing setting.
        {
          provide: SESSION_STORE,
          ...checkedDriver<SessionStore | KeepingDriver>('store', store === undefined ? memorySessionStore() : store),
        },
      ],
    }))
    .build();
