export {
  type MessageTransportContract,
  messageTransportContract,
  type TransportEnds,
} from './message-transport.contract.js';
export { OutboxBench, type OutboxStoreEnds } from './outbox-store.bench.js';
export { type OutboxStoreContract, outboxStoreContract } from './outbox-store.contract.js';
