import { randomBytes } from 'node:crypto';
import type { SqlTransaction } from '@lockstep/sql';
import { v7 as uuidv7 } from 'uuid';
import type { ClaimedMessages, OutboxDelivery, OutboxRecord, OutboxStore } from '../outbox-store.js';

export interface OutboxStoreEnds {
  readonly store: OutboxStore;
  /** Runs `fn` in a transaction that the store can join, with savepoints. */
  transaction<T>(fn: (tx: SqlTransaction) => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

/** A store with a topic and shortcuts for what the tests do all the time. */
export class OutboxBench {
  readonly store: OutboxStore;
  readonly topic = `topic.${randomBytes(5).toString('hex')}`;
  readonly transaction: OutboxStoreEnds['transaction'];

  constructor(ends: OutboxStoreEnds) {
    this.store = ends.store;
    this.transaction = (fn) => ends.transaction(fn);
  }

  subscribe(...consumers: string[]): Promise<void> {
    return this.store.subscribe(consumers.map((consumer) => ({ topic: this.topic, consumer })));
  }

  record(init: Partial<OutboxRecord['message'] & Omit<OutboxRecord, 'message'>> = {}): OutboxRecord {
    const { shard = 0, awaitsAck = true, delayMs = 0, strict = false, ...message } = init;
    return {
      message: { id: uuidv7(), topic: this.topic, key: undefined, payload: '{"n":1}', headers: {}, ...message },
      shard,
      awaitsAck,
      delayMs,
      strict,
    };
  }

  /** Appends in one transaction; gives the ids. */
  async append(...records: OutboxRecord[]): Promise<string[]> {
    await this.transaction((tx) => this.store.append(tx, records));
    return idsOf(records);
  }

  appendMany(count: number, awaitsAck = true): Promise<string[]> {
    return this.append(...Array.from({ length: count }, () => this.record({ awaitsAck })));
  }

  claim(limit = 500, redeliverAfterMs = 60_000): Promise<ClaimedMessages> {
    return this.store.claim({ fromShard: 0, toShard: 0, limit, redeliverAfterMs });
  }

  overdue(limit = 500, redeliverAfterMs = 60_000): Promise<readonly OutboxDelivery[]> {
    return this.store.overdue({ limit, redeliverAfterMs, redeliverAtMostMs: 600_000 });
  }

  acknowledge(ids: readonly string[], consumer: string): Promise<void> {
    return this.store.settle(ids.map((messageId) => ({ outcome: 'acknowledged', consumer, messageId })));
  }

  bury(messageId: string, consumer: string, error = 'poison'): Promise<void> {
    return this.store.settle([{ outcome: 'dead', consumer, messageId, error }]);
  }
}

export type Bench = () => OutboxBench;

/** Whatever carries a message: a delivery, a dead letter. */
export interface Carrier {
  readonly message: OutboxRecord['message'];
}

/** One header of each. */
export function headersOf(rows: readonly Carrier[], name: string): (string | undefined)[] {
  return rows.map(({ message }) => message.headers[name]);
}

export function idsOf(rows: readonly { readonly message: { readonly id: string } }[]): string[] {
  return rows.map(({ message }) => message.id);
}

export function routedTo(deliveries: readonly OutboxDelivery[]): string[] {
  return deliveries.map(({ consumer }) => consumer);
}
