import { checkpoint, count, Incidents } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import type { MessageEnvelope } from '../message.js';
import {
  MESSAGE_TRANSPORT,
  type MessageRoute,
  type MessageTransport,
  type PublishOutcome,
} from '../message-transport.js';
import { NO_CONSUMER, OUTBOX_STORE, type OutboxDelivery, type OutboxStore, type Settlement } from '../outbox-store.js';

export interface PublishReport {
  /** Those of which the transport did not say what became of them; in the order given. */
  readonly unknown: readonly OutboxDelivery[];
  /** Why; undefined when there are none. */
  readonly cause: unknown;
}

/**
 * Hands deliveries to the transport and settles what ends with that: messages that await no acknowledgement, and those
 * that the transport refuses, which become dead letters alone while the others flow.
 */
@Injectable()
export class DeliveryPublisher {
  constructor(
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** Publishes route by route, each in the order given. @throws when what is over cannot be settled */
  async publish(deliveries: readonly OutboxDelivery[]): Promise<PublishReport> {
    const unknown = new Set<OutboxDelivery>();
    const refused: Settlement[] = [];
    let cause: unknown;
    for (const [route, group] of routesOf(this.routed(deliveries))) {
      try {
        const outcomes = await this.transport.publish(
          route,
          group.map(({ message }) => message),
        );
        refused.push(...this.refusals(group, outcomes));
      } catch (error) {
        cause = error;
        for (const delivery of group) unknown.add(delivery);
      }
    }
    checkpoint('outbox.published');
    await this.settle([...refused, ...accepted(deliveries, unknown)]);
    return { unknown: deliveries.filter((delivery) => unknown.has(delivery)), cause };
  }

  private routed(deliveries: readonly OutboxDelivery[]): readonly OutboxDelivery[] {
    const routed = deliveries.filter(({ consumer }) => consumer !== NO_CONSUMER);
    if (routed.length < deliveries.length) {
      const parked = deliveries.filter(({ consumer }) => consumer === NO_CONSUMER);
      this.incidents.report({
        code: 'OUTBOX_TOPIC_WITHOUT_CONSUMER',
        source: 'outbox.relay',
        message: 'messages are kept until somebody subscribes to their topic',
        fields: { topic: parked[0]?.message.topic ?? '', messages: parked.length },
      });
    }
    return routed;
  }

  private refusals(group: readonly OutboxDelivery[], outcomes: readonly PublishOutcome[]): Settlement[] {
    if (outcomes.length !== group.length) {
      throw new Error(`the transport gave ${outcomes.length} outcomes for ${group.length} messages`);
    }
    count('lockstep.outbox.relayed', {}, group.length);
    return group.flatMap(({ message, consumer }, index) => {
      const outcome = outcomes[index];
      return outcome?.outcome === 'rejected' ? [this.refusal(message, consumer, outcome.reason)] : [];
    });
  }

  private refusal(message: MessageEnvelope, consumer: string, reason: string): Settlement {
    this.incidents.report({
      code: 'OUTBOX_MESSAGE_DEAD',
      source: 'outbox.relay',
      message: `the transport refuses a message: ${reason}`,
      fields: { topic: message.topic, consumer, id: message.id },
    });
    return { outcome: 'dead', consumer, messageId: message.id, error: reason, message };
  }

  private async settle(settlements: readonly Settlement[]): Promise<void> {
    if (settlements.length === 0) return;
    await this.store.settle(settlements);
    checkpoint('outbox.settled');
  }
}

/** A message to several consumers leaves the outbox only when the transport has it for each of them. */
function accepted(deliveries: readonly OutboxDelivery[], unknown: ReadonlySet<OutboxDelivery>): Settlement[] {
  const waiting = new Set([...unknown].map(({ message }) => message.id));
  return deliveries
    .filter(({ message, consumer, awaitsAck }) => !awaitsAck && consumer !== NO_CONSUMER && !waiting.has(message.id))
    .map(({ message, consumer, place }) =>
      place ? { outcome: 'accepted', ...place } : { outcome: 'acknowledged', consumer, messageId: message.id },
    );
}

function routesOf(deliveries: readonly OutboxDelivery[]): Iterable<[MessageRoute, OutboxDelivery[]]> {
  const groups = new Map<string, [MessageRoute, OutboxDelivery[]]>();
  for (const delivery of deliveries) {
    const route = { topic: delivery.message.topic, consumer: delivery.consumer };
    const name = `${route.topic}/${route.consumer}`;
    const group = groups.get(name);
    if (group) group[1].push(delivery);
    else groups.set(name, [route, [delivery]]);
  }
  return groups.values();
}
