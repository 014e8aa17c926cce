import type { NotificationStatus } from '../../notification.js';
import type { Lane, NotificationFacts, NotificationOperations, ReplayRequest } from '../../notification-store.js';
import type { MemoryNotificationTables, NotificationRow } from './memory-notification-tables.js';

const COUNT_LIMIT = 10_000;
const BATCH = 1_000;

export class MemoryNotificationOperations implements NotificationOperations {
  constructor(
    private readonly tables: MemoryNotificationTables,
    private readonly lanes: () => readonly Lane[],
  ) {}

  async find(id: string): Promise<NotificationStatus | undefined> {
    const row = this.tables.notifications.get(id);
    return row && statusOf(row);
  }

  async replay({ endpoint, from, to, states, finishedBefore, limit }: ReplayRequest): Promise<number> {
    const rows = [...this.tables.notifications.values()].filter(
      ({ record, createdAt, state, finishedAt = finishedBefore }) =>
        record.endpoint === endpoint &&
        createdAt >= from &&
        createdAt < to &&
        (states as readonly string[]).includes(state) &&
        finishedAt < finishedBefore,
    );
    for (const row of rows.slice(0, limit)) {
      const dueAt = Date.now();
      Object.assign(row, { state: 'pending', reason: undefined, attempts: 0, finishedAt: undefined, dueAt });
    }
    return Math.min(rows.length, limit);
  }

  async facts(): Promise<NotificationFacts> {
    const rows = [...this.tables.notifications.values()];
    const oldest = this.lanes().find(({ isDisabled }) => !isDisabled);
    const countOf = (of: string): number => Math.min(rows.filter(({ state }) => state === of).length, COUNT_LIMIT);
    const disabled = [...this.tables.endpoints.values()].filter(({ disabledAt }) => disabledAt !== undefined);
    return {
      oldestDueMs: Math.max(0, -(oldest?.dueInMs ?? 0)),
      pending: countOf('pending'),
      exhausted: countOf('exhausted'),
      disabledEndpoints: Math.min(disabled.length, COUNT_LIMIT),
    };
  }

  async clockMs(): Promise<number> {
    return Date.now();
  }

  async purge(olderThanMs: number): Promise<number> {
    const before = Date.now() - olderThanMs;
    const old = [...this.tables.notifications.values()].filter(({ finishedAt = before }) => finishedAt < before);
    for (const { record } of old.slice(0, BATCH)) this.tables.notifications.delete(record.id);
    return Math.min(old.length, BATCH);
  }
}

function statusOf({ record, state, reason, createdAt, dueAt, finishedAt, log }: NotificationRow): NotificationStatus {
  const { id, endpoint, type } = record;
  const due = state === 'pending' ? dueAt : undefined;
  return { id, endpoint, type, state, reason, createdAt, dueAt: due, finishedAt, attempts: log };
}
