import type { EndpointFailure, EndpointRecord, EndpointStore } from '../../notification-store.js';
import type { EndpointRow, MemoryNotificationTables } from './memory-notification-tables.js';

const BATCH = 1_000;

export class MemoryEndpointStore implements EndpointStore {
  constructor(private readonly tables: MemoryNotificationTables) {}

  async find(id: string): Promise<EndpointRecord | undefined> {
    const row = this.tables.endpoints.get(id);
    return row && recordOf(row);
  }

  async list(after: string | undefined, limit: number): Promise<readonly EndpointRecord[]> {
    const rows = [...this.tables.endpoints.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    return rows
      .filter(({ id }) => after === undefined || id > after)
      .slice(0, limit)
      .map(recordOf);
  }

  async write({ id, url, secrets, version }: Parameters<EndpointStore['write']>[0]): Promise<boolean> {
    const known = this.tables.endpoints.get(id);
    if (version === 0 ? known !== undefined : known?.version !== version) return false;
    Object.assign(this.tables.endpoint(id), { url, secrets, version: version + 1 });
    return true;
  }

  async disable(id: string, reason: string): Promise<boolean> {
    const row = this.tables.endpoints.get(id);
    if (!row) return false;
    disable(row, reason);
    return true;
  }

  async enable(id: string): Promise<boolean> {
    const row = this.tables.endpoints.get(id);
    if (!row) return false;
    row.disabledAt = row.disabledReason = row.failingSince = row.lastFailedAt = row.pausedUntil = undefined;
    return true;
  }

  async failed({ endpoint, url, gapMs, disableAfterMs }: EndpointFailure): Promise<boolean> {
    const row = this.tables.endpoint(endpoint, url);
    const now = Date.now();
    const isNewRun = row.failingSince === undefined || (row.lastFailedAt ?? 0) <= now - gapMs;
    row.failingSince = isNewRun ? now : row.failingSince;
    row.lastFailedAt = now;
    const isOver = !isNewRun && row.disabledAt === undefined && (row.failingSince ?? now) <= now - disableAfterMs;
    if (isOver) disable(row, 'failed for too long');
    return isOver;
  }

  async succeeded(id: string): Promise<void> {
    const row = this.tables.endpoints.get(id);
    if (row) row.failingSince = row.lastFailedAt = undefined;
  }

  async pause(id: string, url: string | undefined, forMs: number): Promise<void> {
    this.tables.endpoint(id, url).pausedUntil = Date.now() + forMs;
  }

  async gone(id: string, url: string | undefined, reason: string): Promise<void> {
    const row = this.tables.endpoint(id, url);
    row.lastFailedAt = Date.now();
    disable(row, reason);
  }

  async purge(olderThanMs: number): Promise<number> {
    const before = Date.now() - olderThanMs;
    const old = [...this.tables.endpoints.values()].filter(
      ({ version, lastFailedAt, pausedUntil }) => version === 0 && (lastFailedAt ?? pausedUntil ?? 0) < before,
    );
    for (const { id } of old.slice(0, BATCH)) this.tables.endpoints.delete(id);
    return Math.min(old.length, BATCH);
  }
}

function disable(row: EndpointRow, reason: string): void {
  if (row.disabledAt !== undefined) return;
  row.disabledAt = Date.now();
  row.disabledReason = reason;
}

function recordOf({
  id,
  url,
  secrets,
  version,
  disabledAt,
  disabledReason,
  failingSince,
}: EndpointRow): EndpointRecord {
  return { id, url, secrets, version, disabledAt, disabledReason, failingSince };
}
