import { ConfigurationError, type DriverProvider, monotonicMs } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';
import { Logger } from '@nestjs/common';
import type { MessageEnvelope } from '../../message.js';
import type { MessageRoute } from '../../message-transport.js';
import {
  type ClaimedMessages,
  type ClaimRequest,
  NO_CONSUMER,
  type OutboxDelivery,
  type OutboxPlace,
  type OutboxRecord,
  type OutboxStore,
  type OverdueRequest,
  type Settlement,
  type ShardLease,
} from '../../outbox-store.js';
import { drawsOf, withSequences } from '../draw-sequences.js';
import { withStart } from '../with-start.js';
import { MemoryOutboxOperations } from './memory-outbox-operations.js';
import { flightKey, type InFlight, MemoryOutboxTables } from './memory-outbox-tables.js';
import { MemoryPreparedMessageStore } from './memory-prepared-message-store.js';

/**
 * {@link OutboxStore} in the memory of this process: right for one process that may forget its messages when it ends.
 * It hears of a commit by `afterCommit`, so it can join only a transaction that has it.
 */
export class MemoryOutboxStore implements OutboxStore {
  private readonly tables = new MemoryOutboxTables();
  private readonly leases = new Map<string, { readonly owner: object; readonly untilMs: number }>();
  readonly operations = new MemoryOutboxOperations(this.tables);
  readonly prepared = new MemoryPreparedMessageStore((record) => this.keep([record]));

  /** @throws ConfigurationError when the transaction cannot be observed: the message might outlive a rollback */
  async append(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    if (!transaction.afterCommit) {
      throw new ConfigurationError(
        'The memory driver of the outbox needs a transaction with afterCommit: begin it by sql.transaction(…).',
      );
    }
    transaction.afterCommit(() => this.keep(records));
  }

  async promote(limit: number): Promise<{ promoted: number; nextDueInMs: number | undefined }> {
    const now = Date.now();
    const promoted = this.tables.promote(now, limit);
    const dueAt = [...this.tables.delayed].map((row) => row.dueAt);
    return { promoted, nextDueInMs: dueAt.length === 0 ? undefined : Math.max(Math.min(...dueAt) - now, 0) };
  }

  async lease(name: string, ttlMs: number): Promise<ShardLease | undefined> {
    const owner = {};
    const held = (): boolean => {
      const lease = this.leases.get(name);
      return lease !== undefined && lease.owner === owner && lease.untilMs > monotonicMs();
    };
    const take = (): void => void this.leases.set(name, { owner, untilMs: monotonicMs() + ttlMs });
    const other = this.leases.get(name);
    if (other && other.untilMs > monotonicMs()) return undefined;
    take();
    return {
      isHeld: held,
      renew: async () => {
        const still = held();
        if (still) take();
        return still;
      },
      release: async () => {
        if (held()) this.leases.delete(name);
      },
    };
  }

  async claim({ fromShard, toShard, limit, redeliverAfterMs, after = '0' }: ClaimRequest): Promise<ClaimedMessages> {
    const isBehind = ({ shard, position }: OutboxPlace) => shard > fromShard || Number(position) > Number(after);
    const rows = this.tables.pendingOf(fromShard, toShard).filter(isBehind).slice(0, limit);
    const deliveries: OutboxDelivery[] = [];
    for (const { shard, position, message, awaitsAck } of rows) {
      const consumers = this.tables.consumersOf(message.topic);
      const moved = awaitsAck || consumers.length === 0;
      for (const consumer of consumers) this.tables.begin(message, consumer);
      if (moved) this.tables.remove({ shard, position });
      for (const consumer of consumers.length === 0 ? [NO_CONSUMER] : consumers) {
        const dueAt = Date.now() + redeliverAfterMs;
        if (moved) this.tables.fly({ message, consumer, awaitsAck, deliveries: 1, dueAt });
        deliveries.push({
          message: this.started(message, consumer),
          consumer,
          awaitsAck,
          deliveries: 1,
          place: moved ? undefined : { shard, position },
        });
      }
    }
    const reached = rows.findLast(({ shard }) => shard === fromShard)?.position;
    return { deliveries, messages: rows.length, claimedAt: rows.length > 0 ? Date.now() : undefined, reached };
  }

  async overdue({ limit, redeliverAfterMs, redeliverAtMostMs }: OverdueRequest): Promise<readonly OutboxDelivery[]> {
    const now = Date.now();
    for (const row of this.tables.due(now, limit)) if (row.consumer === NO_CONSUMER) this.route(row);
    const due = this.tables.due(now, limit).sort((a, b) => (a.message.id < b.message.id ? -1 : 1));
    return due.map((row) => {
      const pauseMs = Math.min(redeliverAfterMs * 2 ** row.deliveries, redeliverAtMostMs);
      row.deliveries += 1;
      row.dueAt = now + pauseMs;
      const { message, consumer, awaitsAck, deliveries } = row;
      return { message: this.started(message, consumer), consumer, awaitsAck, deliveries, place: undefined };
    });
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    this.tables.defer(settlements.filter((one) => one.outcome === 'deferred'));
    for (const settlement of settlements) {
      if (settlement.outcome === 'deferred') continue;
      if (settlement.outcome === 'accepted') this.tables.remove(settlement);
      else if (settlement.outcome === 'waiting') this.tables.wait(settlement, Date.now());
      else if (settlement.outcome === 'acknowledged') this.tables.inFlight.delete(flightKey(settlement));
      else this.tables.bury(settlement, Date.now());
    }
  }

  async subscribe(routes: readonly MessageRoute[]): Promise<void> {
    for (const route of routes) this.tables.subscribe(route, Date.now());
  }

  /** Nobody waits for anybody in one process: the sequences are drawn in the order of the commits. */
  private keep(records: readonly OutboxRecord[]): void {
    const now = Date.now();
    const draws = drawsOf(records);
    for (const record of withSequences(records, draws, this.tables.sequences.draw(draws, now))) {
      const message = { ...record.message, publishedAt: now };
      if (record.delayMs > 0) this.tables.delay(message, record, now);
      else this.tables.append(message, record);
    }
  }

  private started(message: MessageEnvelope, consumer: string): MessageEnvelope {
    return withStart(message, this.tables.sequences.startOf(message, consumer));
  }

  private route(row: InFlight): void {
    const consumers = this.tables.consumersOf(row.message.topic);
    if (consumers.length === 0) return;
    this.tables.inFlight.delete(flightKey({ consumer: NO_CONSUMER, messageId: row.message.id }));
    for (const consumer of consumers) this.tables.fly({ ...row, consumer, deliveries: 0, dueAt: 0 });
  }
}

/** Keeps messages in this process only: they are gone when it ends, and no other process sees them. */
export function memoryOutboxStore(): DriverProvider<OutboxStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').log('The outbox keeps its messages in memory: for one process that may forget them.');
      return new MemoryOutboxStore();
    },
  };
}
