import type { Sql } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import type { DeadLetter, DeadLetterId, DeadLetterQuery, OutboxFacts, OutboxOperations } from '../../outbox-store.js';
import { type DeadRow, deadLetterOf, factsOf } from '../sql/outbox-rows.js';
import { smallestIdOf } from '../sql/smallest-id.js';
import { LAND } from './flight-statements.js';
import { MariaDbIdleKeys } from './mariadb-idle-keys.js';
import { hexOf, idOf } from './mariadb-rows.js';
import type { MariaDbSubscriptions } from './mariadb-subscriptions.js';
import {
  BURY_RETIRED,
  deadLetters,
  FACTS,
  HOLDING_UP,
  LOCK_RETIRED,
  PURGE,
  REMOVE_LETTERS,
  REPLAY,
  SKIP,
} from './operation-statements.js';
import type { OwnTransactions } from './own-transactions.js';

export class MariaDbOutboxOperations implements OutboxOperations {
  private readonly idleKeys: MariaDbIdleKeys;

  constructor(
    private readonly sql: Sql,
    private readonly own: OwnTransactions,
    private readonly subscriptions: MariaDbSubscriptions,
    private readonly ready: () => Promise<void>,
  ) {
    this.idleKeys = new MariaDbIdleKeys(own);
  }

  async facts(shards: number): Promise<OutboxFacts> {
    await this.ready();
    const used = Array.from({ length: shards }, (_, shard) => ({ shard }));
    const [row] = await this.sql.query<Record<keyof OutboxFacts, string>>(FACTS, [JSON.stringify(used)]);
    return factsOf(row);
  }

  async deadLetters(query: DeadLetterQuery): Promise<readonly DeadLetter[]> {
    await this.ready();
    const { consumer, topic, after, limit } = query;
    const last = after ? hexOf(after.messageId) : undefined;
    const params = [limit, consumer, topic, last, after?.consumer];
    const rows = await this.sql.query<DeadRow>(deadLetters(query), params);
    return rows.map((row) => deadLetterOf({ ...row, id: idOf(row.id) }));
  }

  replay(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(REPLAY, ids);
  }

  skip(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(SKIP, ids);
  }

  async discard(ids: readonly DeadLetterId[]): Promise<number> {
    await this.ready();
    return this.own.transaction(async (tx) => {
      const letters = JSON.stringify(await tx.query(REPLAY.lock, [listOf(ids)]));
      await tx.execute(SKIP.fly, [JSON.stringify(await tx.query(HOLDING_UP, [letters]))]);
      return tx.execute(REMOVE_LETTERS, [letters]);
    });
  }

  async purge(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.own.execute(PURGE, [olderThanMs, hexOf(smallestIdOf(Date.now() - olderThanMs))]);
  }

  async purgeSequences(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.idleKeys.sweep(olderThanMs);
  }

  async retire({ topic, consumer }: MessageRoute): Promise<number> {
    await this.ready();
    await this.subscriptions.end({ topic, consumer });
    return this.own.transaction(async (tx) => {
      const flights = JSON.stringify(await tx.query(LOCK_RETIRED, [topic, consumer]));
      await tx.execute(BURY_RETIRED, [flights]);
      return tx.execute(LAND, [flights]);
    });
  }

  private async flyAgain(steps: typeof REPLAY, ids: readonly DeadLetterId[]): Promise<number> {
    await this.ready();
    return this.own.transaction(async (tx) => {
      const letters = JSON.stringify(await tx.query(steps.lock, [listOf(ids)]));
      await tx.execute(steps.fly, [letters]);
      return tx.execute(REMOVE_LETTERS, [letters]);
    });
  }
}

/** In one order, so that two calls cannot wait for each other. */
function listOf(ids: readonly DeadLetterId[]): string {
  const rows = ids.map(({ messageId, consumer }) => ({ message_id: hexOf(messageId), consumer }));
  return JSON.stringify(rows.sort((a, b) => (a.message_id + a.consumer < b.message_id + b.consumer ? -1 : 1)));
}
