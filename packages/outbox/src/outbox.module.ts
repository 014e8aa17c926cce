import { CoreModule } from '@lockstep/core';
import { type DynamicModule, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { AckReceiver } from './ack/ack-receiver.js';
import { AckSender } from './ack/ack-sender.js';
import { ConsumerServices } from './consumer/consumer-services.js';
import { ConsumerStarter } from './consumer/consumer-starter.js';
import { MessageExplorer } from './consumer/message-explorer.js';
import { MessageHandlerFactory } from './consumer/message-handler.js';
import { SequenceGate } from './consumer/sequence-gate.js';
import { DeadLetters } from './dead-letters.service.js';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, type OutboxModuleExtras } from './outbox.module-definition.js';
import { checkOptionsGiven, OUTBOX_OPTIONS, type OutboxModuleOptions, resolveOutboxOptions } from './outbox.options.js';
import { OutboxService } from './outbox.service.js';
import { OutboxHealth } from './outbox-health.service.js';
import { OutboxLifecycle } from './outbox-lifecycle.js';
import { DeliveryPublisher } from './relay/delivery-publisher.js';
import { InboxWatch } from './relay/inbox-watch.js';
import { OutboxMetrics } from './relay/outbox-metrics.js';
import { OutboxRelay } from './relay/outbox-relay.js';
import { RelayWakeUp } from './relay/relay-wake-up.js';
import { AbandonedChecks } from './transactional/abandoned-checks.js';
import { CheckBack } from './transactional/check-back.js';
import { CheckBackPass } from './transactional/check-back-pass.js';
import { CheckOutcomes } from './transactional/check-outcomes.js';
import { CompensationConsumers } from './transactional/compensation-consumers.js';
import { HalfDecisions } from './transactional/half-decisions.js';
import { HalfRecords } from './transactional/half-records.js';
import { TombstonePass } from './transactional/tombstone-pass.js';
import { TransactionalExplorer } from './transactional/transactional-explorer.js';
import { TransactionalHandlers } from './transactional/transactional-handlers.js';
import { TransactionalRuntime } from './transactional/transactional-message.decorator.js';
import { TransactionalMessages } from './transactional/transactional-messages.service.js';
import { UndecidedMessages } from './transactional/undecided-messages.js';

/**
 * Messages that exist exactly when their transaction committed and take effect once:
 * `OutboxModule.forRoot({ origin, store, transport })`. Global; needs `SqlModule`.
 */
@Module({
  imports: [CoreModule, DiscoveryModule],
  providers: [
    { provide: OUTBOX_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveOutboxOptions },
    AckReceiver,
    AbandonedChecks,
    AckSender,
    CheckBack,
    CheckBackPass,
    CheckOutcomes,
    CompensationConsumers,
    ConsumerServices,
    ConsumerStarter,
    DeadLetters,
    DeliveryPublisher,
    HalfDecisions,
    HalfRecords,
    InboxWatch,
    MessageExplorer,
    MessageHandlerFactory,
    OutboxHealth,
    OutboxLifecycle,
    OutboxMetrics,
    OutboxRelay,
    OutboxService,
    RelayWakeUp,
    SequenceGate,
    TombstonePass,
    TransactionalExplorer,
    TransactionalHandlers,
    TransactionalMessages,
    TransactionalRuntime,
    UndecidedMessages,
  ],
  exports: [OutboxService, DeadLetters, OutboxHealth, TransactionalMessages, TransactionalRuntime],
})
export class OutboxModule extends ConfigurableModuleClass {
  /** @throws ConfigurationError where a program without types passed no options, or a store or transport that is none */
  static override forRoot(options: OutboxModuleOptions & OutboxModuleExtras): DynamicModule {
    checkOptionsGiven(options);
    // biome-ignore lint/complexity/noThisInStatic: by its own name, the parent would define itself and not this module
    return super.forRoot(options);
  }
}
