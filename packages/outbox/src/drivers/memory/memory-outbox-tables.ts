import type { MessageEnvelope } from '../../message.js';
import type { MessageRoute } from '../../message-transport.js';
import {
  type DeadLetter,
  type DeadLetterId,
  NO_CONSUMER,
  type OutboxPlace,
  type OutboxRecord,
  type Settlement,
} from '../../outbox-store.js';

export interface Pending extends OutboxPlace {
  readonly message: MessageEnvelope;
  readonly awaitsAck: boolean;
}

export interface InFlight {
  readonly message: MessageEnvelope;
  readonly consumer: string;
  readonly awaitsAck: boolean;
  deliveries: number;
  /** Epoch milliseconds. */
  dueAt: number;
}

const MAX_ERROR_CHARS = 2_000;

export function flightKey({ messageId, consumer }: DeadLetterId): string {
  return `${messageId}/${consumer}`;
}

/** What the other drivers have as tables. */
export class MemoryOutboxTables {
  readonly pending = new Map<string, Pending>();
  readonly inFlight = new Map<string, InFlight>();
  readonly dead = new Map<string, DeadLetter>();
  private readonly subscriptions = new Map<string, MessageRoute>();
  private position = 0;

  append(message: MessageEnvelope, { shard, awaitsAck }: OutboxRecord): void {
    this.position += 1;
    const position = String(this.position);
    this.pending.set(`${shard}/${position}`, { shard, position, message, awaitsAck });
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
    const key = flightKey(settlement);
    const message = this.inFlight.get(key)?.message ?? settlement.message;
    this.inFlight.delete(key);
    if (!message || this.dead.has(key)) return;
    const { messageId, consumer, error } = settlement;
    this.dead.set(key, { messageId, consumer, message, error: error.slice(0, MAX_ERROR_CHARS), failedAt });
  }

  subscribe(route: MessageRoute): void {
    const key = `${route.topic}/${route.consumer}`;
    if (this.subscriptions.has(key)) return;
    this.subscriptions.set(key, route);
    for (const row of this.inFlight.values()) {
      if (row.consumer === NO_CONSUMER && row.message.topic === route.topic) row.dueAt = 0;
    }
  }

  unsubscribe({ topic, consumer }: MessageRoute): void {
    this.subscriptions.delete(`${topic}/${consumer}`);
  }

  consumersOf(topic: string): string[] {
    const routes = [...this.subscriptions.values()].filter((route) => route.topic === topic);
    return routes.map(({ consumer }) => consumer).sort();
  }
}
