export {
  type MessageTransportContract,
  messageTransportContract,
  type TransportEnds,
} from './message-transport.contract.js';
