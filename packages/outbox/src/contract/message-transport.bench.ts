import { randomBytes } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { expect, vi } from 'vitest';
import type { MessageEnvelope } from '../message.js';
import type { BatchHandler, Delivery, DeliveryOutcome, MessageRoute } from '../message-transport.js';

export const DONE: DeliveryOutcome = { outcome: 'done' };

/** Holds up whoever waits for it until it is opened. */
export class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** What a handler was given, and the handler. */
export interface Collected {
  readonly deliveries: readonly Delivery[];
  readonly handler: BatchHandler;
  ids(): string[];
  untilCount(count: number, timeoutMs: number): Promise<void>;
}

export function collect(answer: (delivery: Delivery) => DeliveryOutcome = () => DONE): Collected {
  const deliveries: Delivery[] = [];
  return {
    deliveries,
    handler: async (batch) =>
      batch.map((delivery) => {
        deliveries.push(delivery);
        return answer(delivery);
      }),
    ids: () => deliveries.map(({ message }) => message.id),
    untilCount: (count, timeoutMs) =>
      vi.waitFor(() => expect(deliveries.length).toBeGreaterThanOrEqual(count), { timeout: timeoutMs, interval: 10 }),
  };
}

export function newRoute(): MessageRoute {
  const suffix = randomBytes(5).toString('hex');
  return { topic: `topic.${suffix}`, consumer: `consumer-${suffix}` };
}

export function newMessage(topic: string, init: Partial<MessageEnvelope> = {}): MessageEnvelope {
  return {
    id: uuidv7(),
    topic,
    key: undefined,
    payload: '{"n":1}',
    headers: {},
    publishedAt: 1_767_225_600_000,
    ...init,
  };
}
