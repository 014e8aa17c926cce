export {
  type MessageTransportContract,
  messageTransportContract,
  type TransportEnds,
} from './message-transport.contract.js';
export type { OutboxStoreEnds } from './outbox-store.bench.js';
export { type OutboxStoreContract, outboxStoreContract } from './outbox-store.contract.js';
