import { failureNoticeOf } from '../../failure-notice.js';
import type { MessageEnvelope } from '../../message.js';
import { SEQUENCE_HEADER } from '../../message-headers.js';
import type { MessageRoute } from '../../message-transport.js';
import {
  type DeadLetter,
  type DeadLetterId,
  NO_CONSUMER,
  type OutboxPlace,
  type OutboxRecord,
  type Settlement,
} from '../../outbox-store.js';
import { parseSequence } from '../../sequence.js';
import { errorText } from '../error-text.js';
import { MemorySequences } from './memory-sequences.js';

export interface Pending extends OutboxPlace {
  readonly message: MessageEnvelope;
  readonly awaitsAck: boolean;
}

export interface Delayed {
  readonly message: MessageEnvelope;
  readonly record: OutboxRecord;
  /** Epoch milliseconds. */
  readonly dueAt: number;
}

export interface InFlight {
  readonly message: MessageEnvelope;
  readonly consumer: string;
  readonly awaitsAck: boolean;
  deliveries: number;
  /** Epoch milliseconds. */
  dueAt: number;
}

export function flightKey({ messageId, consumer }: DeadLetterId): string {
  return `${messageId}/${consumer}`;
}

/** What the other drivers have as tables. */
export class MemoryOutboxTables {
  readonly pending = new Map<string, Pending>();
  readonly inFlight = new Map<string, InFlight>();
  readonly dead = new Map<string, DeadLetter>();
  readonly delayed = new Set<Delayed>();
  /** Counters of strict keys, and where a consumer begins in one. */
  readonly sequences = new MemorySequences();
  private readonly subscriptions = new Map<string, MessageRoute & { readonly since: number }>();
  private position = 0;

  append(message: MessageEnvelope, { shard, awaitsAck }: OutboxRecord): void {
    this.position += 1;
    const position = String(this.position);
    this.pending.set(`${shard}/${position}`, { shard, position, message, awaitsAck });
  }

  delay(message: MessageEnvelope, record: OutboxRecord, now: number): void {
    this.delayed.add({ message, record, dueAt: now + record.delayMs });
  }

  promote(now: number, limit: number): number {
    const due = [...this.delayed].filter(({ dueAt }) => dueAt <= now).sort((a, b) => a.dueAt - b.dueAt);
    for (const row of due.slice(0, limit)) {
      this.delayed.delete(row);
      this.append({ ...row.message, publishedAt: row.dueAt }, row.record);
    }
    return Math.min(due.length, limit);
  }

  pendingOf(fromShard: number, toShard: number): Pending[] {
    const rows = [...this.pending.values()].filter(({ shard }) => shard >= fromShard && shard <= toShard);
    return rows.sort((a, b) => a.shard - b.shard || Number(a.position) - Number(b.position));
  }

  remove({ shard, position }: OutboxPlace): void {
    this.pending.delete(`${shard}/${position}`);
  }

  fly(row: InFlight): void {
    const key = flightKey({ messageId: row.message.id, consumer: row.consumer });
    if (!this.inFlight.has(key)) this.inFlight.set(key, { ...row });
  }

  defer(places: readonly Extract<Settlement, { outcome: 'deferred' }>[]): void {
    for (const { shard, position, consumer } of places) {
      const row = this.pending.get(`${shard}/${position}`);
      if (row) this.fly({ message: row.message, consumer, awaitsAck: row.awaitsAck, deliveries: 1, dueAt: 0 });
    }
    for (const place of places) this.remove(place);
  }

  due(now: number, limit: number): InFlight[] {
    const rows = [...this.inFlight.values()].filter(({ dueAt }) => dueAt <= now);
    return rows.sort((a, b) => a.dueAt - b.dueAt).slice(0, limit);
  }

  bury(settlement: Extract<Settlement, { outcome: 'dead' }>, failedAt: number): void {
    const letter = this.lay(settlement, failedAt);
    const notice = letter && failureNoticeOf(letter.message, letter.consumer, letter.error);
    if (!notice) return;
    const told = { ...notice.message, publishedAt: failedAt };
    this.fly({ message: told, consumer: notice.consumer, awaitsAck: true, deliveries: 0, dueAt: 0 });
  }

  /** Without telling a compensator: whose subscription ends has not failed. Undefined where there is nothing to bury. */
  lay(settlement: Extract<Settlement, { outcome: 'dead' }>, failedAt: number): DeadLetter | undefined {
    const key = flightKey(settlement);
    const message = this.inFlight.get(key)?.message ?? settlement.message;
    this.inFlight.delete(key);
    if (!message || this.dead.has(key)) return undefined;
    const { messageId, consumer } = settlement;
    const letter = { messageId, consumer, message, error: errorText(settlement.error), failedAt };
    this.dead.set(key, letter);
    return letter;
  }

  wait({ forMs, ...id }: Extract<Settlement, { outcome: 'waiting' }>, now: number): void {
    const row = this.inFlight.get(flightKey(id));
    if (row) row.dueAt = Math.max(row.dueAt, now + forMs);
  }

  subscribe(route: MessageRoute, now: number): void {
    const key = `${route.topic}/${route.consumer}`;
    if (this.subscriptions.has(key)) return;
    this.subscriptions.set(key, { ...route, since: now });
    const parked = this.parkedOf(route.topic);
    for (const row of parked) row.dueAt = Math.min(row.dueAt, now);
    const unrouted = this.unrouted(route.topic);
    const keys = new Set(parked.map(({ message }) => message.key));
    for (const one of keys) if (one !== undefined) this.sequences.begin(route, one, unrouted);
  }

  unsubscribe({ topic, consumer }: MessageRoute): void {
    this.subscriptions.delete(`${topic}/${consumer}`);
    this.sequences.end({ topic, consumer });
  }

  /** In a key that is older than its subscription, a consumer begins with the first message that was left for it. */
  begin(message: MessageEnvelope, consumer: string): void {
    const { topic, key, headers } = message;
    const subscription = this.subscriptions.get(`${topic}/${consumer}`);
    const sequence = parseSequence(headers[SEQUENCE_HEADER]);
    if (!subscription || !sequence || key === undefined || sequence.generation > subscription.since) return;
    if (this.sequences.startOf(message, consumer) !== undefined) return;
    this.sequences.begin(subscription, key, this.unrouted(topic));
  }

  private unrouted(topic: string): MessageEnvelope[] {
    const rows = [...this.pending.values(), ...this.parkedOf(topic)];
    return rows.map(({ message }) => message).filter((message) => message.topic === topic);
  }

  private parkedOf(topic: string): InFlight[] {
    const rows = [...this.inFlight.values()];
    return rows.filter(({ consumer, message }) => consumer === NO_CONSUMER && message.topic === topic);
  }

  routes(): readonly MessageRoute[] {
    return [...this.subscriptions.values()];
  }

  consumersOf(topic: string): string[] {
    const routes = this.routes().filter((route) => route.topic === topic);
    return routes.map(({ consumer }) => consumer).sort();
  }
}
