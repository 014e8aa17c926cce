import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { memoryMessageTransport } from './drivers/memory/memory-message-transport.js';
import { memoryOutboxStore } from './drivers/memory/memory-outbox-store.js';
import { MESSAGE_TRANSPORT, type MessageTransport } from './message-transport.js';
import type { OutboxModuleOptions } from './outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from './outbox-store.js';

/** What is given at once, also where the other options come later. */
export interface OutboxModuleExtras {
  /** Where messages stand until they have taken effect. @default memoryOutboxStore() */
  readonly store?: DriverProvider<OutboxStore>;
  /** What carries them. @default memoryMessageTransport() */
  readonly transport?: DriverProvider<MessageTransport>;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<OutboxModuleOptions>({
  moduleName: 'Outbox',
})
  .setClassMethodName('forRoot')
  .setExtras<OutboxModuleExtras>(
    {},
    (definition, { store = memoryOutboxStore(), transport = memoryMessageTransport() }) => ({
      ...definition,
      global: true,
      providers: [
        ...(definition.providers ?? []),
        { provide: OUTBOX_STORE, ...checkedDriver('store', store) },
        { provide: MESSAGE_TRANSPORT, ...checkedDriver('transport', transport) },
      ],
    }),
  )
  .build();
