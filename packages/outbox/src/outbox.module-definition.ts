import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { ConfigurableModuleBuilder } from '@nestjs/common';
import { inProcessRelaySignal } from './drivers/memory/in-process-relay-signal.js';
import { memoryMessageTransport } from './drivers/memory/memory-message-transport.js';
import { memoryOutboxStore } from './drivers/memory/memory-outbox-store.js';
import { MESSAGE_TRANSPORT, type MessageTransport } from './message-transport.js';
import type { OutboxModuleOptions } from './outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from './outbox-store.js';
import { RELAY_SIGNAL, type RelaySignal } from './relay-signal.js';

/** What is given at once, also where the other options come later. */
export interface OutboxModuleExtras {
  /** Where messages stand until they have taken effect. @default memoryOutboxStore() */
  readonly store?: DriverProvider<OutboxStore> | undefined;
  /** What carries them. @default memoryMessageTransport() */
  readonly transport?: DriverProvider<MessageTransport> | undefined;
  /**
   * Lets a commit wake the relays of other processes: `redisRelaySignal()` or `postgresRelaySignal()`. Without one they
   * find its messages when they look, every `sweepEvery`.
   * @default none: only the relay of the same process is woken
   */
  readonly wakeUp?: DriverProvider<RelaySignal> | undefined;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<OutboxModuleOptions>({
  moduleName: 'Outbox',
})
  .setClassMethodName('forRoot')
  // Those named here stay out of the options, where they would come too late and are refused.
  .setExtras<OutboxModuleExtras>(
    { store: undefined, transport: undefined, wakeUp: undefined },
    (
      definition,
      { store = memoryOutboxStore(), transport = memoryMessageTransport(), wakeUp = inProcessRelaySignal() },
    ) => ({
      ...definition,
      global: true,
      providers: [
        ...(definition.providers ?? []),
        { provide: OUTBOX_STORE, ...checkedDriver('store', store) },
        { provide: MESSAGE_TRANSPORT, ...checkedDriver('transport', transport) },
        { provide: RELAY_SIGNAL, ...checkedDriver('wakeUp', wakeUp) },
      ],
    }),
  )
  .build();
