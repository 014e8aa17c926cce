import type { Sql, SqlTransaction } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import { LOOK_AT, type LookedAt, stepsOf } from '../idle-keys.js';
import { LOOK_AT_KEYS, READ_BY_KEY, READ_ONCE, ROUTES, STEP_KEYS } from './sequence-statements.js';

interface LookedRow {
  readonly topic: string;
  readonly key: string;
  readonly generation: string;
  readonly n: string;
  readonly isIdle: boolean;
  readonly waiting: string | null;
  readonly told: string | null;
}

/** Walks the counters of strict keys, some a sweep, and begins again behind the last one. */
export class PostgresIdleKeys {
  private last: Pick<LookedAt, 'topic' | 'key'> | undefined;

  constructor(private readonly sql: Sql) {}

  /** Returns of how many keys the counter was forgotten, or a consumer was told where to begin. */
  async sweep(olderThanMs: number): Promise<number> {
    const { keys, last } = await this.sql.transaction((tx) => this.step(tx, olderThanMs), {
      // In a transaction, a statement that reads all that is in use may take longer than by itself.
      propagation: 'requires-new',
      isolation: 'read committed',
    });
    this.last = last;
    return keys;
  }

  private async step(tx: SqlTransaction, olderThanMs: number): Promise<{ keys: number; last: LookedAt | undefined }> {
    await tx.query(READ_ONCE);
    const routes = await tx.query<MessageRoute>(ROUTES);
    const { topic = '', key = '' } = this.last ?? {};
    const rows = await tx.query<LookedRow>(LOOK_AT_KEYS, [olderThanMs, topic, key, LOOK_AT]);
    const { steps, last } = stepsOf(rows.map(lookedAt), routes);
    if (steps.length === 0) return { keys: 0, last };
    await tx.query(READ_BY_KEY);
    const list = steps.map(({ key: { topic, key, generation, n }, told }) => ({ topic, key, generation, n, told }));
    const [stepped] = await tx.query<{ keys: number }>(STEP_KEYS, [JSON.stringify(list)]);
    return { keys: stepped?.keys ?? 0, last };
  }
}

function lookedAt({ topic, key, generation, n, isIdle, waiting, told }: LookedRow): LookedAt {
  return {
    topic,
    key,
    generation: Number(generation),
    n: Number(n),
    isIdle,
    waiting: consumersOf(waiting),
    told: consumersOf(told),
  };
}

function consumersOf(list: string | null): readonly string[] {
  return list === null ? [] : (JSON.parse(list) as string[]);
}
