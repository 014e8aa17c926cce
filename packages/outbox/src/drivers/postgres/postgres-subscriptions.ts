import type { Sql, SqlTransaction } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import {
  END_STARTS,
  LOCK_SUBSCRIPTIONS,
  MISSING_ROUTES,
  START_PARKED,
  SUBSCRIBE,
  UNSUBSCRIBE,
  WAKE_PARKED,
} from './start-statements.js';

const BATCH = 10_000;

/**
 * Who consumes what. Claims stand still while it changes, so nothing is done then that takes longer the more keys there
 * are: the starts of a consumer that was there before are removed before, and what was parked is woken after.
 */
export class PostgresSubscriptions {
  constructor(private readonly sql: Sql) {}

  async begin(routes: readonly MessageRoute[]): Promise<void> {
    const missing = await this.sql.query<MessageRoute>(MISSING_ROUTES, [JSON.stringify(routes)]);
    if (missing.length === 0) return;
    await this.endStarts(missing);
    await this.alone(async (tx) => {
      const added = await tx.query(SUBSCRIBE, [JSON.stringify(missing)]);
      if (added.length > 0) await tx.execute(START_PARKED, [JSON.stringify(added)]);
    });
    await this.sql.execute(WAKE_PARKED, [JSON.stringify(missing)]);
  }

  async end({ topic, consumer }: MessageRoute): Promise<void> {
    await this.alone((tx) => tx.execute(UNSUBSCRIBE, [topic, consumer]));
    await this.endStarts([{ topic, consumer }]);
  }

  /** Nobody writes them any more: who sees the starts of a subscription sees that as well. */
  private async endStarts(routes: readonly MessageRoute[]): Promise<void> {
    for (;;) {
      const [row] = await this.sql.query<{ found: number }>(END_STARTS, [JSON.stringify(routes), BATCH]);
      if (!row?.found) return;
    }
  }

  /** In a transaction of its own, whatever is open around. */
  private alone(work: (tx: SqlTransaction) => Promise<unknown>): Promise<unknown> {
    const locked = async (tx: SqlTransaction): Promise<unknown> => {
      await tx.execute(LOCK_SUBSCRIPTIONS);
      return work(tx);
    };
    return this.sql.transaction(locked, { propagation: 'requires-new', isolation: 'read committed' });
  }
}
