import type { Sql } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import { CLOSE_GATE, SHARE_GATE } from './flight-statements.js';
import type { OwnTransactions } from './own-transactions.js';
import {
  END_STARTS,
  HAS_PARKED,
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
export class MariaDbSubscriptions {
  constructor(
    private readonly sql: Sql,
    private readonly own: OwnTransactions,
  ) {}

  async begin(routes: readonly MessageRoute[]): Promise<void> {
    const missing = await this.sql.query<MessageRoute>(MISSING_ROUTES, [JSON.stringify(routes)]);
    if (missing.length === 0) return;
    for (const route of missing) await this.endStarts(route);
    await this.own.transaction(async (tx) => {
      await tx.execute(CLOSE_GATE);
      const added = await tx.query(MISSING_ROUTES, [JSON.stringify(routes)]);
      if (added.length === 0) return;
      const list = [JSON.stringify(added)];
      await tx.execute(SUBSCRIBE, list);
      if ((await tx.query(HAS_PARKED, list)).length > 0) await tx.execute(START_PARKED, list);
    });
    await this.own.execute(WAKE_PARKED, [JSON.stringify(missing)]);
  }

  async end({ topic, consumer }: MessageRoute): Promise<void> {
    await this.own.transaction(async (tx) => {
      await tx.execute(CLOSE_GATE);
      await tx.execute(UNSUBSCRIBE, [topic, consumer]);
    });
    await this.endStarts({ topic, consumer });
  }

  /** The starts of what is no subscription: of one that begins anew they would not be true. Nobody writes them any more. */
  private async endStarts({ topic, consumer }: MessageRoute): Promise<void> {
    const step = (): Promise<number> =>
      this.own.transaction(async (tx) => {
        // Nobody subscribes meanwhile: his starts would be taken for those of before.
        await tx.query(SHARE_GATE);
        const missing = await tx.query(MISSING_ROUTES, [JSON.stringify([{ topic, consumer }])]);
        return missing.length === 0 ? 0 : tx.execute(END_STARTS, [topic, consumer, BATCH]);
      });
    while ((await step()) > 0);
  }
}
