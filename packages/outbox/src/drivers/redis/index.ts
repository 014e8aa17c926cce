export { redisRelaySignal } from './redis-relay-signal.js';
