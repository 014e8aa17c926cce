import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { MESSAGE_INBOX, type MessageInbox } from './consumer/message-inbox.js';
import { memoryIdempotencyStore } from './drivers/memory/index.js';
import type { IdempotencyModuleOptions } from './idempotency.options.js';
import { IDEMPOTENCY_STORE, type IdempotencyStore } from './idempotency-store.js';

export interface IdempotencyModuleExtras {
  /** Where records are kept. @default memoryIdempotencyStore(), right for one process only */
  readonly store?: DriverProvider<IdempotencyStore> | undefined;
  /** Where transactional consumers remember messages. @default none: they end the boot */
  readonly inbox?: DriverProvider<MessageInbox> | undefined;
}

export const { ASYNC_OPTIONS_TYPE, ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<IdempotencyModuleOptions>({ moduleName: 'Idempotency' })
    .setClassMethodName('forRoot')
    .setExtras<IdempotencyModuleExtras>({ store: undefined, inbox: undefined }, (definition, { store, inbox }) => ({
      ...definition,
      global: true,
      providers: [
        ...(definition.providers ?? []),
        // Only a store that was not named is the one in memory: null may be a missing setting.
        {
          provide: IDEMPOTENCY_STORE,
          ...checkedDriver('store', store === undefined ? memoryIdempotencyStore() : store),
        },
        ...(inbox === undefined ? [] : [{ provide: MESSAGE_INBOX, ...checkedDriver('inbox', inbox) }]),
      ],
    }))
    .build();
