import { checkpoint, count, Incidents } from '@lockstep/core';
import { inTurnOrder } from '../consumer/turn-order.js';
import { SEQUENCE_HEADER } from '../message-headers.js';
import { NO_CONSUMER, type OutboxDelivery, type OutboxStore, type OverdueRequest } from '../outbox-store.js';
import { parseSequence } from '../sequence.js';
import type { DeliveryPublisher } from './delivery-publisher.js';
import { Patience } from './patience.js';
import type { SlowStart } from './slow-start.js';

/** From this delivery on, a message that nobody acknowledges is worth an incident, and travels alone. */
const SUSPICIOUS_DELIVERIES = 5;

/** Messages of a strict key that travel together when they are suspicious. */
const STRICT_GROUP = 32;

/**
 * Publishes again what is in flight and was not acknowledged in time. Any number may run at a time, anywhere. What was
 * given out again and again is published one by one: it cannot pull others down, and a transport that merges equal
 * batches keeps one copy of it more and no further ones, however long its consumer is away.
 *
 * Of a strict key, those of the same stretch of its sequence go together, always the same ones: alone, the many that
 * wait for their turn would keep their consumers too busy to come to the one that they wait for.
 */
export class RedeliveryPass {
  private readonly patience = new Patience();

  constructor(
    private readonly pauses: Pick<OverdueRequest, 'redeliverAfterMs' | 'redeliverAtMostMs'>,
    private readonly store: OutboxStore,
    private readonly publisher: DeliveryPublisher,
    private readonly pace: SlowStart,
    private readonly incidents: Incidents,
  ) {}

  /** @returns whether there may be more to do at once @throws when store or transport did not answer */
  async run(): Promise<boolean> {
    const limit = this.pace.limit;
    const overdue = await this.patience.with((patient) => this.store.overdue({ ...this.pauses, limit, patient }));
    if (overdue.length === 0) return false;
    checkpoint('outbox.overdue', { messages: overdue.length });
    count('lockstep.outbox.redelivered', {}, overdue.length);
    this.reportSuspicious(overdue);
    await this.publish(overdue.filter((delivery) => !isSuspicious(delivery)));
    for (const group of groupsOf(overdue.filter(isSuspicious))) await this.publish(group);
    return overdue.length >= limit;
  }

  private async publish(deliveries: readonly OutboxDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    const { held, cause } = await this.publisher.publish(deliveries);
    if (held.length > 0) throw cause;
  }

  private reportSuspicious(overdue: readonly OutboxDelivery[]): void {
    const suspicious = overdue.filter(isSuspicious);
    const [first] = suspicious;
    if (!first) return;
    this.incidents.report({
      code: 'OUTBOX_UNACKNOWLEDGED',
      source: 'outbox.redelivery',
      message: 'messages are delivered again and again, and their consumer does not acknowledge them',
      fields: { topic: first.message.topic, consumer: first.consumer, messages: suspicious.length },
    });
  }
}

function isSuspicious({ consumer, deliveries }: OutboxDelivery): boolean {
  return consumer !== NO_CONSUMER && deliveries >= SUSPICIOUS_DELIVERIES;
}

function groupsOf(deliveries: readonly OutboxDelivery[]): readonly (readonly OutboxDelivery[])[] {
  const groups = new Map<string, OutboxDelivery[]>();
  for (const delivery of inTurnOrder(deliveries, ({ message }) => message)) {
    const name = nameOfGroup(delivery);
    const group = groups.get(name);
    if (group) group.push(delivery);
    else groups.set(name, [delivery]);
  }
  return [...groups.values()];
}

function nameOfGroup({ consumer, message: { id, topic, key, headers } }: OutboxDelivery): string {
  const sequence = parseSequence(headers[SEQUENCE_HEADER]);
  const stretch = sequence && [topic, key, sequence.generation, Math.floor(sequence.n / STRICT_GROUP)];
  return JSON.stringify([consumer, ...(stretch ?? [id])]);
}
