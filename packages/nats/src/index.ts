export type { NatsServerOptions, NatsTransportOptions } from './nats.options.js';
export { natsTransport } from './nats.providers.js';
