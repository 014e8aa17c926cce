import type { Sql } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import type { DeadLetter, DeadLetterId, DeadLetterQuery, OutboxFacts, OutboxOperations } from '../../outbox-store.js';
import { type DeadRow, deadLetterOf, factsOf } from '../sql/outbox-rows.js';
import { smallestIdOf } from '../sql/smallest-id.js';
import { DEAD_LETTERS, DISCARD, FACTS, PURGE, REPLAY, RETIRE, SKIP } from './operation-statements.js';
import { PostgresIdleKeys } from './postgres-idle-keys.js';
import type { PostgresSubscriptions } from './postgres-subscriptions.js';

export class PostgresOutboxOperations implements OutboxOperations {
  private readonly idleKeys: PostgresIdleKeys;

  constructor(
    private readonly sql: Sql,
    private readonly subscriptions: PostgresSubscriptions,
    private readonly ready: () => Promise<void>,
  ) {
    this.idleKeys = new PostgresIdleKeys(sql);
  }

  async facts(shards: number): Promise<OutboxFacts> {
    await this.ready();
    const [row] = await this.sql.query<Record<keyof OutboxFacts, string>>(FACTS, [shards]);
    return factsOf(row);
  }

  async deadLetters({
    consumer,
    topic,
    blocking = false,
    after,
    limit,
  }: DeadLetterQuery): Promise<readonly DeadLetter[]> {
    await this.ready();
    const params = [
      consumer ?? null,
      after?.messageId ?? null,
      after?.consumer ?? null,
      limit,
      topic ?? null,
      blocking,
    ];
    const rows = await this.sql.query<DeadRow>(DEAD_LETTERS, params);
    return rows.map(deadLetterOf);
  }

  replay(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(REPLAY, ids);
  }

  skip(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(SKIP, ids);
  }

  discard(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(DISCARD, ids);
  }

  async purge(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.sql.execute(PURGE, [olderThanMs, smallestIdOf(Date.now() - olderThanMs)]);
  }

  async purgeSequences(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.idleKeys.sweep(olderThanMs);
  }

  async retire({ topic, consumer }: MessageRoute): Promise<number> {
    await this.ready();
    await this.subscriptions.end({ topic, consumer });
    const [row] = await this.sql.query<{ retired: number }>(RETIRE, [topic, consumer]);
    return row?.retired ?? 0;
  }

  private async flyAgain(statement: string, ids: readonly DeadLetterId[]): Promise<number> {
    await this.ready();
    const [row] = await this.sql.query<{ letters: number }>(statement, [listOf(ids)]);
    return row?.letters ?? 0;
  }
}

function listOf(ids: readonly DeadLetterId[]): string {
  return JSON.stringify(ids.map(({ messageId, consumer }) => ({ message_id: messageId, consumer })));
}
