import type { EndpointFailure, EndpointRecord, EndpointSeen, EndpointStore } from '../../notification-store.js';
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
    row.disabledAt = row.disabledReason = row.failingSince = row.pausedUntil = undefined;
    row.version += row.version > 0 ? 1 : -1;
    return true;
  }

  async remove(id: string): Promise<boolean> {
    const isDisabled = this.tables.endpoints.get(id)?.disabledAt !== undefined;
    if (!isDisabled || !this.tables.isRegistered(id) || this.tables.pending(id).length > 0) return false;
    return this.tables.endpoints.delete(id);
  }

  async failed({ gapMs, disableAfterMs, ...seen }: EndpointFailure): Promise<boolean> {
    const row = this.current(seen);
    if (!row) return false;
    const now = Date.now();
    const isNewRun = row.failingSince === undefined || (row.lastFailedAt ?? 0) <= now - gapMs;
    row.failingSince = isNewRun ? now : row.failingSince;
    row.lastFailedAt = now;
    const isOver = !isNewRun && row.disabledAt === undefined && (row.failingSince ?? now) <= now - disableAfterMs;
    if (isOver) disable(row, 'failed for too long');
    return isOver;
  }

  async succeeded(seen: EndpointSeen): Promise<void> {
    const row = this.current(seen);
    if (row) row.failingSince = undefined;
  }

  async pause(seen: EndpointSeen, forMs: number): Promise<boolean> {
    const row = this.current(seen);
    if (!row) return false;
    row.pausedUntil = Math.max(row.pausedUntil ?? 0, Date.now() + forMs);
    return true;
  }

  async gone(seen: EndpointSeen, reason: string): Promise<boolean> {
    const row = this.current(seen);
    if (!row) return false;
    row.lastFailedAt = Date.now();
    disable(row, reason);
    return true;
  }

  async purge(olderThanMs: number): Promise<number> {
    const before = Date.now() - olderThanMs;
    const old = [...this.tables.endpoints.values()].filter(
      ({ version, lastFailedAt, pausedUntil }) =>
        version <= 0 && (lastFailedAt ?? 0) < before && (pausedUntil ?? 0) < before,
    );
    for (const { id } of old.slice(0, BATCH)) this.tables.endpoints.delete(id);
    return Math.min(old.length, BATCH);
  }

  /** Undefined when the endpoint has another version by now. */
  private current({ endpoint, url, version }: EndpointSeen): EndpointRow | undefined {
    const row =
      version === 0 && url !== undefined ? this.tables.endpoint(endpoint, url) : this.tables.endpoints.get(endpoint);
    return row?.version === version ? row : undefined;
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
