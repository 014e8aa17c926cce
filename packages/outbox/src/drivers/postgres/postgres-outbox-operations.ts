import type { Sql } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import type { DeadLetter, DeadLetterId, DeadLetterQuery, OutboxFacts, OutboxOperations } from '../../outbox-store.js';
import { envelopeOf, type MessageRow } from './outbox-rows.js';
import {
  DEAD_LETTERS,
  DISCARD,
  FACTS,
  PURGE,
  PURGE_SEQUENCES,
  REPLAY,
  RETIRE,
  SKIP,
  UNSUBSCRIBE,
} from './outbox-statements.js';

interface DeadRow extends MessageRow {
  readonly consumer: string;
  readonly error: string;
  readonly failedAt: string;
}

export class PostgresOutboxOperations implements OutboxOperations {
  constructor(
    private readonly sql: Sql,
    private readonly ready: () => Promise<void>,
  ) {}

  async facts(shards: number): Promise<OutboxFacts> {
    await this.ready();
    const [row] = await this.sql.query<Record<keyof OutboxFacts, string>>(FACTS, [shards]);
    return {
      oldestPendingMs: Number(row?.oldestPendingMs),
      oldestInFlightMs: Number(row?.oldestInFlightMs),
      oldestParkedMs: Number(row?.oldestParkedMs),
      oldestDueMs: Number(row?.oldestDueMs),
      delayed: Number(row?.delayed),
      pending: Number(row?.pending),
      inFlight: Number(row?.inFlight),
      dead: Number(row?.dead),
    };
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
    return rows.map((row) => ({
      messageId: row.id,
      consumer: row.consumer,
      message: envelopeOf(row),
      error: row.error,
      failedAt: Number(row.failedAt),
    }));
  }

  replay(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(REPLAY, ids);
  }

  skip(ids: readonly DeadLetterId[]): Promise<number> {
    return this.flyAgain(SKIP, ids);
  }

  async discard(ids: readonly DeadLetterId[]): Promise<number> {
    await this.ready();
    return this.sql.execute(DISCARD, [listOf(ids)]);
  }

  async purge(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.sql.execute(PURGE, [olderThanMs, smallestUuidOf(Date.now() - olderThanMs)]);
  }

  async purgeSequences(olderThanMs: number): Promise<number> {
    await this.ready();
    return this.sql.execute(PURGE_SEQUENCES, [olderThanMs]);
  }

  async retire({ topic, consumer }: MessageRoute): Promise<number> {
    await this.ready();
    await this.sql.execute(UNSUBSCRIBE, [topic, consumer]);
    return this.sql.execute(RETIRE, [topic, consumer]);
  }

  private async flyAgain(statement: string, ids: readonly DeadLetterId[]): Promise<number> {
    await this.ready();
    const [row] = await this.sql.query<{ replayed: number }>(statement, [listOf(ids)]);
    return row?.replayed ?? 0;
  }
}

function listOf(ids: readonly DeadLetterId[]): string {
  return JSON.stringify(ids.map(({ messageId, consumer }) => ({ message_id: messageId, consumer })));
}

/** A local clock that runs behind narrows the search, and what it leaves out is purged later. */
function smallestUuidOf(epochMs: number): string {
  const hex = Math.max(epochMs, 0).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
