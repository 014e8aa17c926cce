import { ConfigurationError, type DriverProvider } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';
import { Logger } from '@nestjs/common';
import type {
  AppendOutcome,
  ClaimedNotification,
  ClaimRequest,
  Lane,
  NotificationRecord,
  NotificationSettlement,
  NotificationStore,
  ReceiptStore,
} from '../../notification-store.js';
import { MemoryEndpointStore } from './memory-endpoint-store.js';
import { MemoryNotificationOperations } from './memory-notification-operations.js';
import { MemoryNotificationTables, type NotificationRow } from './memory-notification-tables.js';

const BATCH = 1_000;

/**
 * {@link NotificationStore} in the memory of this process: right for one process that may forget its notifications when it
 * ends. It hears of a commit by `afterCommit`, so it can join only a transaction that has it.
 */
export class MemoryNotificationStore implements NotificationStore {
  private readonly tables = new MemoryNotificationTables();
  readonly endpoints = new MemoryEndpointStore(this.tables);
  readonly operations = new MemoryNotificationOperations(this.tables, () => this.lanesNow());
  readonly receipts: ReceiptStore = {
    receive: (transaction, receiver, idHash) => this.receive(transaction, `${receiver} ${idHash}`),
    purge: async (olderThanMs) => this.purgeReceipts(olderThanMs),
  };

  /** @throws ConfigurationError when the transaction cannot be observed: the notification might outlive a rollback */
  async append(transaction: SqlTransaction, record: NotificationRecord): Promise<AppendOutcome> {
    const { id, endpoint, url, type } = record;
    const other = this.tables.notifications.get(id)?.record;
    if (other) return other.endpoint === endpoint && other.type === type ? 'duplicate' : 'conflict';
    if (url === undefined && !this.tables.isRegistered(endpoint)) return 'unknown-endpoint';
    afterCommitOf(transaction)(() => this.tables.add(record));
    return 'appended';
  }

  async lanes(limit: number): Promise<readonly Lane[]> {
    return this.lanesNow().slice(0, limit);
  }

  async claim({ endpoint, limit, leaseMs }: ClaimRequest): Promise<readonly ClaimedNotification[]> {
    const now = Date.now();
    const due = this.tables.pending(endpoint).filter(({ dueAt }) => dueAt <= now);
    return due.slice(0, limit).map((row) => {
      row.attempts += 1;
      row.epoch += 1;
      row.isClaimed = true;
      row.dueAt = now + leaseMs;
      const { id, url, body } = row.record;
      const { attempts: attempt, epoch, log: attempts } = row;
      return { id, endpoint, url, body, attempt, epoch, attempts, claimedAt: now };
    });
  }

  async settle(settlement: NotificationSettlement): Promise<boolean> {
    const row = this.tables.notifications.get(settlement.id);
    if (row?.state !== 'pending' || !row.isClaimed || row.epoch !== settlement.epoch) return false;
    row.isClaimed = false;
    row.dueAt = Date.now();
    if (settlement.outcome === 'released') {
      row.attempts -= 1;
      return true;
    }
    row.log = settlement.attempts;
    if (settlement.outcome === 'retry') row.dueAt += settlement.delayMs;
    else finish(row, settlement.outcome, 'reason' in settlement ? settlement.reason : undefined);
    return true;
  }

  async cancelPending(endpoint: string, reason: string, limit: number): Promise<number> {
    if (this.tables.endpoints.get(endpoint)?.disabledAt === undefined) return 0;
    const now = Date.now();
    const free = this.tables.pending(endpoint).filter(({ isClaimed, dueAt }) => !isClaimed || dueAt <= now);
    for (const row of free.slice(0, limit)) finish(row, 'cancelled', reason);
    return Math.min(free.length, limit);
  }

  private lanesNow(): Lane[] {
    const lanes = new Map<string, Lane>();
    const now = Date.now();
    for (const { record, dueAt } of this.tables.pending()) {
      if (lanes.has(record.endpoint)) continue;
      const endpoint = this.tables.endpoints.get(record.endpoint);
      const isDisabled = endpoint?.disabledAt !== undefined;
      const pausedUntil = isDisabled ? 0 : (endpoint?.pausedUntil ?? 0);
      lanes.set(record.endpoint, {
        endpoint: record.endpoint,
        url: this.tables.isRegistered(record.endpoint) ? endpoint?.url : undefined,
        secrets: endpoint?.secrets ?? [],
        isDisabled,
        isFailing: endpoint?.failingSince !== undefined,
        version: endpoint?.version ?? 0,
        dueInMs: Math.max(dueAt, pausedUntil) - now,
      });
    }
    return [...lanes.values()].sort((a, b) => a.dueInMs - b.dueInMs);
  }

  /** Whoever receives lets no two copies in at a time; what is known here is committed. */
  private async receive(transaction: SqlTransaction, key: string): Promise<boolean> {
    if (this.tables.receipts.has(key)) return false;
    afterCommitOf(transaction)(() => this.tables.receipts.set(key, Date.now()));
    return true;
  }

  private purgeReceipts(olderThanMs: number): number {
    const before = Date.now() - olderThanMs;
    const old = [...this.tables.receipts].filter(([, receivedAt]) => receivedAt < before).slice(0, BATCH);
    for (const [key] of old) this.tables.receipts.delete(key);
    return old.length;
  }
}

function finish(row: NotificationRow, state: NotificationRow['state'], reason: string | undefined): void {
  Object.assign(row, { state, reason, isClaimed: false, finishedAt: Date.now() });
}

function afterCommitOf(transaction: SqlTransaction): (hook: () => void) => void {
  if (transaction.afterCommit) return (hook) => transaction.afterCommit?.(hook);
  throw new ConfigurationError(
    'The memory driver of notifications needs a transaction with afterCommit: begin it by sql.transaction(…).',
  );
}

/** Keeps notifications in this process only: they are gone when it ends, and no other process sees them. */
export function memoryNotificationStore(): DriverProvider<NotificationStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').log('Notifications are kept in memory: for one process that may forget them.');
      return new MemoryNotificationStore();
    },
  };
}
