export type { Message, MessageEnvelope, OutgoingMessage } from './message.js';
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
