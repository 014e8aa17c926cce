import type { Attempt, NotificationState } from '../../notification.js';
import type { EndpointSecret, NotificationRecord } from '../../notification-store.js';

/** Times are epoch milliseconds. */
export interface NotificationRow {
  readonly record: NotificationRecord;
  readonly createdAt: number;
  state: NotificationState;
  reason: string | undefined;
  attempts: number;
  epoch: number;
  isClaimed: boolean;
  dueAt: number;
  finishedAt: number | undefined;
  log: readonly Attempt[];
}

export interface EndpointRow {
  readonly id: string;
  url: string;
  secrets: readonly EndpointSecret[];
  version: number;
  disabledAt: number | undefined;
  disabledReason: string | undefined;
  failingSince: number | undefined;
  lastFailedAt: number | undefined;
  pausedUntil: number | undefined;
}

/** What the other drivers have as tables. */
export class MemoryNotificationTables {
  readonly notifications = new Map<string, NotificationRow>();
  readonly endpoints = new Map<string, EndpointRow>();
  readonly receipts = new Map<string, number>();

  add(record: NotificationRecord): void {
    if (this.notifications.has(record.id)) return;
    const createdAt = Date.now();
    this.notifications.set(record.id, {
      record,
      createdAt,
      state: 'pending',
      reason: undefined,
      attempts: 0,
      epoch: 0,
      isClaimed: false,
      dueAt: createdAt + record.delayMs,
      finishedAt: undefined,
      log: [],
    });
  }

  /** The earliest due first. */
  pending(endpoint?: string): NotificationRow[] {
    return [...this.notifications.values()]
      .filter(({ state, record }) => state === 'pending' && (endpoint === undefined || record.endpoint === endpoint))
      .sort((a, b) => a.dueAt - b.dueAt);
  }

  isRegistered(endpoint: string): boolean {
    return (this.endpoints.get(endpoint)?.version ?? 0) > 0;
  }

  endpoint(id: string, url = ''): EndpointRow {
    const known = this.endpoints.get(id);
    if (known) return known;
    const row: EndpointRow = {
      id,
      url,
      secrets: [],
      version: 0,
      disabledAt: undefined,
      disabledReason: undefined,
      failingSince: undefined,
      lastFailedAt: Date.now(),
      pausedUntil: undefined,
    };
    this.endpoints.set(id, row);
    return row;
  }
}
