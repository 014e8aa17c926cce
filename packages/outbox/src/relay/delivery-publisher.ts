import { checkpoint, count, Incidents, recordSize, withSpan } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { MESSAGE_TRANSPORT, type MessageRoute, type MessageTransport } from '../message-transport.js';
import { NO_CONSUMER, OUTBOX_STORE, type OutboxDelivery, type OutboxStore, type Settlement } from '../outbox-store.js';
import { linksOf } from './message-links.js';
import { ReportPace } from './report-pace.js';
import { type Refused, RouteAttempt } from './route-attempt.js';
import { Suspects } from './suspects.js';
import { TransportLife } from './transport-life.js';

const PARKED_REPORT_EVERY_MS = 60_000;

export interface PublishReport {
  /** Those that were not taken because the transport was away as a whole; in the order given. */
  readonly held: readonly OutboxDelivery[];
  /** Why; undefined when there are none. */
  readonly cause: unknown;
}

/**
 * Hands deliveries to the transport and settles what ends with that: messages that await no acknowledgement, and those
 * that the transport refuses or cannot take, which become dead letters alone while the others flow.
 *
 * A transport that does not answer at all is away: what it should have taken is the caller's to hold. A route that fails
 * while others work, or since when others have worked, or that fails otherwise than by silence, must not hold up those:
 * its messages are left to the scan.
 */
@Injectable()
export class DeliveryPublisher {
  private readonly parkedReports = new ReportPace(PARKED_REPORT_EVERY_MS);
  private readonly suspects = new Suspects();
  private readonly life = new TransportLife();

  constructor(
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** Publishes route by route, each in the order given. @throws when what is over cannot be settled */
  async publish(deliveries: readonly OutboxDelivery[]): Promise<PublishReport> {
    const attempts: RouteAttempt[] = [];
    for (const [route, group] of routesOf(this.routed(deliveries))) attempts.push(await this.attempt(route, group));
    checkpoint('outbox.published');
    this.life.note(attempts);
    const isAnswered = attempts.some(({ answered }) => answered > 0);
    const failsAlone = ({ route }: RouteAttempt): boolean => isAnswered || this.life.failsAlone(route);
    const away = attempts.flatMap((attempt) => (failsAlone(attempt) ? [] : attempt.away));
    const broken = attempts.flatMap((attempt) => [...attempt.broken, ...(failsAlone(attempt) ? attempt.away : [])]);
    for (const attempt of attempts) this.reportBroken(attempt, failsAlone(attempt));
    const open = new Set([...away, ...broken]);
    const deferred = deferredOf(open, broken);
    await this.settle([
      ...attempts.flatMap(({ refused }) => refused.map((one) => this.refusal(one))),
      ...accepted(deliveries, open),
      ...deferrals(deferred),
    ]);
    const cause = attempts.find((attempt) => attempt.away.length > 0 && !failsAlone(attempt))?.cause;
    return { held: away.filter((delivery) => !deferred.includes(delivery)), cause };
  }

  /** What was held in vain is no longer next: it comes again by the scan. @throws when it cannot be settled */
  async leaveToScan(held: readonly OutboxDelivery[], cause: unknown): Promise<void> {
    const [first] = held;
    if (!first) return;
    this.incidents.report({
      code: 'OUTBOX_ROUTE_BROKEN',
      source: 'outbox.relay',
      message:
        'the transport has not answered for long; the messages are tried again by the scan, and others come next',
      cause,
      fields: { topic: first.message.topic, consumer: first.consumer, messages: held.length },
    });
    await this.settle(deferrals(held));
  }

  private async attempt(route: MessageRoute, group: readonly OutboxDelivery[]): Promise<RouteAttempt> {
    const attempt = new RouteAttempt(route, this.transport, this.suspects);
    const { topic, consumer } = route;
    const attributes = {
      'messaging.operation.type': 'send',
      'messaging.destination.name': topic,
      'messaging.consumer.group.name': consumer,
      'messaging.batch.message_count': group.length,
      'lockstep.outbox.redelivered': group.filter(({ deliveries }) => deliveries > 1).length,
    };
    const settings = { kind: SpanKind.CLIENT, links: () => linksOf(group) };
    await withSpan('lockstep.outbox.relay', attributes, () => attempt.publish(group), settings);
    recordSize('lockstep.outbox.batch_size', group.length, '{message}');
    if (attempt.answered > 0) count('lockstep.outbox.relayed', {}, attempt.answered);
    return attempt;
  }

  private reportBroken({ broken, away, answered, cause }: RouteAttempt, failsAlone: boolean): void {
    const left = [...broken, ...(failsAlone ? away : [])];
    const [first] = left;
    if (!first) return;
    const fields = { topic: first.message.topic, consumer: first.consumer, messages: left.length };
    const source = 'outbox.relay';
    if (answered > 0) {
      const message =
        'the transport does not take some messages while it takes others of their route; they are tried again';
      this.incidents.report({ code: 'OUTBOX_MESSAGE_NOT_TAKEN', source, message, cause, fields });
    } else {
      const message = 'the transport does not take the messages of a route; they are tried again by the scan';
      this.incidents.report({ code: 'OUTBOX_ROUTE_BROKEN', source, message, cause, fields });
    }
  }

  private routed(deliveries: readonly OutboxDelivery[]): readonly OutboxDelivery[] {
    const routed = deliveries.filter(({ consumer }) => consumer !== NO_CONSUMER);
    if (routed.length < deliveries.length) {
      this.reportParked(deliveries.filter(({ consumer }) => consumer === NO_CONSUMER));
    }
    return routed;
  }

  /** What is parked comes by again and again, for as long as nobody subscribes. */
  private reportParked(parked: readonly OutboxDelivery[]): void {
    for (const [topic, messages] of countByTopic(parked)) {
      if (!this.parkedReports.isDue(topic)) continue;
      this.incidents.report({
        code: 'OUTBOX_TOPIC_WITHOUT_CONSUMER',
        source: 'outbox.relay',
        message: 'messages are kept until somebody subscribes to their topic',
        fields: { topic, messages },
      });
    }
  }

  private refusal({ delivery: { message, consumer }, reason }: Refused): Settlement {
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
function accepted(deliveries: readonly OutboxDelivery[], open: ReadonlySet<OutboxDelivery>): Settlement[] {
  const waiting = new Set([...open].map(({ message }) => message.id));
  return deliveries
    .filter(({ message, consumer, awaitsAck }) => !awaitsAck && consumer !== NO_CONSUMER && !waiting.has(message.id))
    .map(({ message, consumer, place }) =>
      place ? { outcome: 'accepted', ...place } : { outcome: 'acknowledged', consumer, messageId: message.id },
    );
}

function deferrals(deliveries: readonly OutboxDelivery[]): readonly Settlement[] {
  return deliveries.flatMap(({ consumer, place }): Settlement[] =>
    place ? [{ outcome: 'deferred', consumer, ...place }] : [],
  );
}

/** With one delivery of a message its row leaves the outbox, so all that are open must go along. */
function deferredOf(open: ReadonlySet<OutboxDelivery>, broken: readonly OutboxDelivery[]): readonly OutboxDelivery[] {
  const leaving = new Set(broken.filter(({ place }) => place).map(({ message }) => message.id));
  return [...open].filter(({ message, place }) => place && leaving.has(message.id));
}

function countByTopic(deliveries: readonly OutboxDelivery[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { message } of deliveries) counts.set(message.topic, (counts.get(message.topic) ?? 0) + 1);
  return counts;
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
