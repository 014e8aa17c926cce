export { OnMessage } from './consumer/on-message.decorator.js';
export type { OnMessageBatchOptions, OnMessageOptions } from './consumer/on-message.options.js';
export { inTurnOrder } from './consumer/turn-order.js';
export { type DeadLetterSelection, DeadLetters } from './dead-letters.service.js';
export { MemoryMessageTransport, memoryMessageTransport } from './drivers/memory/memory-message-transport.js';
export { MemoryOutboxStore, memoryOutboxStore } from './drivers/memory/memory-outbox-store.js';
export type { FailureNotice } from './failure-notice.js';
export type { Message, MessageEnvelope, Ordering, OutgoingMessage, Reply } from './message.js';
export type { Durability } from './message-headers.js';
export {
  type BatchHandler,
  type ConsumeOptions,
  type Delivery,
  type DeliveryOutcome,
  MESSAGE_TRANSPORT,
  type MessageRoute,
  type MessageTransport,
  type PublishOutcome,
  type TransportSubscription,
} from './message-transport.js';
export { Outbox, type OutboxDecoratorOptions } from './outbox.decorator.js';
export { MessageInvalidError, MessageRefusedError } from './outbox.errors.js';
export { OutboxModule } from './outbox.module.js';
export type { OutboxModuleExtras } from './outbox.module-definition.js';
export type { OutboxModuleOptions, TopicOptions } from './outbox.options.js';
export { OutboxService, type PublishManyOptions, type PublishOptions } from './outbox.service.js';
export { OutboxHealth, type OutboxHealthReport } from './outbox-health.service.js';
export {
  type ClaimedMessages,
  type ClaimRequest,
  type DeadLetter,
  type DeadLetterId,
  type DeadLetterQuery,
  NO_CONSUMER,
  OUTBOX_STORE,
  type OutboxDelivery,
  type OutboxFacts,
  type OutboxOperations,
  type OutboxPlace,
  type OutboxRecord,
  type OutboxStore,
  type OverdueRequest,
  type Settlement,
  type ShardLease,
} from './outbox-store.js';
export { DeliveryPublisher, type PublishReport } from './relay/delivery-publisher.js';
export { RedeliveryPass } from './relay/redelivery-pass.js';
export { RelayPass, type RelayRange } from './relay/relay-pass.js';
export { SlowStart } from './relay/slow-start.js';
export { DELAYED_SHARD, RELAY_SIGNAL, type RelaySignal, type RelaySignalListener } from './relay-signal.js';
export type { Half } from './transactional/half.js';
export {
  type CheckAnswer,
  type DecisionOutcome,
  type DueCheck,
  type DueRequest,
  type HalfMessage,
  type HalfState,
  type OpenState,
  type PreparedFacts,
  type PreparedMessageStore,
  TOMBSTONE,
  type UndecidedMessage,
  type UndecidedQuery,
  type WaitingChecker,
} from './transactional/prepared-message-store.js';
export {
  MessageAlreadyRolledBackError,
  MessageNotUndecidedError,
  NotAppliedError,
  TransactionalMessageMisuseError,
} from './transactional/transactional.errors.js';
export type { CheckBackOptions, TransactionalMessageInit } from './transactional/transactional.options.js';
export type { Check, Compensator } from './transactional/transactional-handlers.js';
export {
  TransactionalMessage,
  type TransactionalMessageOptions,
} from './transactional/transactional-message.decorator.js';
export { TransactionalMessages } from './transactional/transactional-messages.service.js';
