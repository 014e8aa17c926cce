import { randomBytes, randomUUID } from 'node:crypto';
import type { Delivery, DeliveryOutcome, MessageEnvelope, MessageRoute } from '@lockstep/outbox';

export const DONE: DeliveryOutcome = { outcome: 'done' };

export function newRoute(): MessageRoute {
  const suffix = randomBytes(5).toString('hex');
  return { topic: `topic.${suffix}`, consumer: `consumer-${suffix}` };
}

export function newMessage(route: MessageRoute, init: Partial<MessageEnvelope> = {}): MessageEnvelope {
  const { topic } = route;
  return { id: randomUUID(), topic, key: undefined, payload: '{"n":1}', headers: {}, publishedAt: 1, ...init };
}

export function newMessages(route: MessageRoute, count: number, key?: string): MessageEnvelope[] {
  return Array.from({ length: count }, () => newMessage(route, { key }));
}

/** A handler that remembers what it was handed. */
export class Consumer {
  readonly deliveries: Delivery[] = [];

  constructor(
    private readonly answer: (delivery: Delivery) => DeliveryOutcome | Promise<DeliveryOutcome> = () => DONE,
  ) {}

  readonly handler = async (batch: readonly Delivery[]): Promise<DeliveryOutcome[]> => {
    this.deliveries.push(...batch);
    return Promise.all(batch.map(async (delivery) => this.answer(delivery)));
  };

  ids(): string[] {
    return this.deliveries.map(({ message }) => message.id);
  }
}
