import type { Attempt, NotificationState, NotificationStatus } from '../../notification.js';
import type { Lane, NotificationFacts, NotificationOperations, ReplayRequest } from '../../notification-store.js';
import type { NotificationDatabase } from './notification-database.js';
import { NOTIFICATION_STATEMENTS } from './notification-statements.js';
import { timeOf } from './sql-endpoint-store.js';

const FINISHED = ['delivered', 'exhausted', 'cancelled'];
const LANES_LOOKED_AT = 1_000;

interface StatusRow {
  readonly id: string;
  readonly endpoint: string;
  readonly type: string;
  readonly state: NotificationState;
  readonly reason: string | null;
  readonly log: string;
  readonly created: string;
  readonly due: string;
  readonly finished: string | null;
}

export class SqlNotificationOperations implements NotificationOperations {
  private readonly statements: (typeof NOTIFICATION_STATEMENTS)['postgres'];

  constructor(
    private readonly database: NotificationDatabase,
    private readonly lanes: (limit: number) => Promise<readonly Lane[]>,
  ) {
    this.statements = NOTIFICATION_STATEMENTS[database.sql.dialect];
  }

  async find(id: string): Promise<NotificationStatus | undefined> {
    const [row] = await this.database.query<StatusRow>(this.statements.find, [id]);
    return row && statusOf(row);
  }

  replay({ endpoint, from, to, states, finishedBefore, limit }: ReplayRequest): Promise<number> {
    const [first] = states;
    const padded = FINISHED.map((_, at) => states[at] ?? first);
    return this.database.execute(this.statements.replay, [endpoint, ...padded, from, to, finishedBefore, limit]);
  }

  async facts(): Promise<NotificationFacts> {
    const [row] = await this.database.query<Record<string, string>>(this.statements.facts);
    const oldest = (await this.lanes(LANES_LOOKED_AT)).find(({ isDisabled }) => !isDisabled);
    return {
      oldestDueMs: Math.max(0, Math.floor(-(oldest?.dueInMs ?? 0))),
      pending: Number(row?.pending),
      exhausted: Number(row?.exhausted),
      disabledEndpoints: Number(row?.disabled),
    };
  }

  async clockMs(): Promise<number> {
    const [row] = await this.database.query<{ now: string }>(this.statements.clock);
    return Number(row?.now);
  }

  async purge(olderThanMs: number): Promise<number> {
    let purged = 0;
    for (const state of FINISHED) purged += await this.database.execute(this.statements.purge, [state, olderThanMs]);
    return purged;
  }
}

function statusOf({ id, endpoint, type, state, reason, log, created, due, finished }: StatusRow): NotificationStatus {
  return {
    id,
    endpoint,
    type,
    state,
    reason: reason ?? undefined,
    createdAt: Number(created),
    dueAt: state === 'pending' ? Number(due) : undefined,
    finishedAt: timeOf(finished),
    attempts: attemptsOf(log),
  };
}

/** JSON leaves out what is undefined. */
export function attemptsOf(log: string): readonly Attempt[] {
  return (JSON.parse(log) as Partial<Attempt>[]).map(({ at = 0, durationMs = 0, status, error }) => ({
    at,
    durationMs,
    status,
    error,
  }));
}
