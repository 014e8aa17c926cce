import { type DriverProvider, Incidents } from '@lockstep/core';
import { Logger } from '@nestjs/common';
import type { MessageEnvelope } from '../../message.js';
import type {
  BatchHandler,
  ConsumeOptions,
  MessageRoute,
  MessageTransport,
  PublishOutcome,
  TransportSubscription,
} from '../../message-transport.js';
import { MemoryRoute } from './memory-route.js';

/**
 * {@link MessageTransport} in the memory of this process: right where one process both publishes and consumes. What it
 * holds is gone with the process; the outbox's scan makes up for it where a topic is until-ack.
 */
export class MemoryMessageTransport implements MessageTransport {
  private readonly routes = new Map<string, MemoryRoute>();
  private readonly subscriptions = new Set<TransportSubscription>();

  constructor(private readonly incidents: Incidents) {}

  async publish(route: MessageRoute, messages: readonly MessageEnvelope[]): Promise<readonly PublishOutcome[]> {
    const at = this.routeOf(route);
    for (const message of messages) at.accept(message);
    return messages.map(() => ({ outcome: 'accepted' }));
  }

  async consume(route: MessageRoute, handler: BatchHandler, options: ConsumeOptions): Promise<TransportSubscription> {
    const subscription = this.routeOf(route).subscribe(handler, options);
    this.subscriptions.add(subscription);
    return {
      close: async (signal) => {
        await subscription.close(signal);
        this.subscriptions.delete(subscription);
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.subscriptions].map((subscription) => subscription.close()));
    for (const route of this.routes.values()) route.forget();
    this.routes.clear();
  }

  private routeOf({ topic, consumer }: MessageRoute): MemoryRoute {
    const name = `${topic}/${consumer}`;
    let route = this.routes.get(name);
    if (!route) {
      route = new MemoryRoute(name, this.incidents);
      this.routes.set(name, route);
    }
    return route;
  }
}

/** Carries messages within this process only. */
export function memoryMessageTransport(): DriverProvider<MessageTransport> {
  return {
    inject: [Incidents],
    useFactory: (incidents: Incidents) => {
      new Logger('Lockstep').log('Messages are carried in memory: only consumers in this process receive them.');
      return new MemoryMessageTransport(incidents);
    },
  };
}
