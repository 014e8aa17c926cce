export {
  describeMessageTransportContract,
  type MessageTransportContract,
  type TransportEnds,
} from './message-transport.contract.js';
export { OutboxBench, type OutboxStoreEnds } from './outbox-store.bench.js';
export { describeOutboxStoreContract, type OutboxStoreContract } from './outbox-store.contract.js';
export { PreparedBench, type PreparedMessageStoreEnds } from './prepared-message-store.bench.js';
export {
  describePreparedMessageStoreContract,
  type PreparedMessageStoreContract,
} from './prepared-message-store.contract.js';
