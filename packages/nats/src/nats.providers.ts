import { DrainService, type DriverProvider, Incidents } from '@lockstep/core';
import type { MessageTransport } from '@lockstep/outbox';
import { type NatsTransportOptions, resolveNatsOptions } from './nats.options.js';
import { NatsLink } from './server/nats-link.js';
import { NatsTransport } from './transport/nats-transport.js';

/**
 * Carries the messages of the outbox by NATS JetStream:
 * `OutboxModule.forRoot({ transport: natsTransport({ servers: 'nats://…' }) })`. The server may be down when the
 * application starts.
 *
 * @throws ConfigurationError naming the option and its value
 */
export function natsTransport(options: NatsTransportOptions): DriverProvider<MessageTransport> {
  const resolved = resolveNatsOptions(options);
  return {
    inject: [Incidents, DrainService],
    useFactory: (incidents: Incidents, drain: DrainService) => {
      const link = new NatsLink(resolved.source, resolved.commandTimeoutMs, incidents);
      const transport = new NatsTransport(link, resolved, incidents);
      drain.register({ name: 'nats.transport', phase: 'connections', drain: () => transport.close() });
      return transport;
    },
  };
}
