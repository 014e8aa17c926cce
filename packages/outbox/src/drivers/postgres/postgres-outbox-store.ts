import type { DriverProvider } from '@lockstep/core';
import { type MigrationSet, RowLeases, Sql, type SqlTransaction } from '@lockstep/sql';
import { failureNoticeId } from '../../failure-notice.js';
import type { MessageRoute } from '../../message-transport.js';
import type {
  ClaimedMessages,
  ClaimRequest,
  OutboxDelivery,
  OutboxRecord,
  OutboxStore,
  OverdueRequest,
  Settlement,
  ShardLease,
} from '../../outbox-store.js';
import { drawsOf, withSequences } from '../draw-sequences.js';
import { errorText } from '../error-text.js';
import { columnsOf, type DrawnRow, drawnOf, envelopeOf, type MessageRow } from '../sql/outbox-rows.js';
import { withStart } from '../with-start.js';
import {
  ACCEPTED,
  ACKNOWLEDGED,
  APPEND,
  APPEND_DELAYED,
  APPEND_ONE,
  BURY,
  CLAIM,
  DEFERRED,
  DRAW,
  NEXT_DUE,
  OVERDUE,
  PROMOTE,
  ROUTE_PARKED,
  WAITING,
} from './outbox-statements.js';
import { PostgresOutboxOperations } from './postgres-outbox-operations.js';
import { PostgresPreparedMessageStore } from './postgres-prepared-message-store.js';
import { PostgresSubscriptions } from './postgres-subscriptions.js';

const MIGRATIONS: MigrationSet = { name: 'outbox', directory: new URL('./migrations/', import.meta.url) };

interface Statement {
  readonly text: string;
  readonly params: readonly unknown[];
}

interface DeliveryRow extends MessageRow {
  readonly consumer: string;
  readonly awaitsAck: boolean;
  readonly deliveries: number;
  /** Where the consumer begins in the key, if that is known. */
  readonly start: string | null;
}

interface ClaimedRow extends DeliveryRow {
  readonly shard: number;
  readonly position: string;
  readonly moves: boolean;
  readonly claimedAt: string;
}

type Dead = Extract<Settlement, { outcome: 'dead' }>;

/** {@link OutboxStore} on tables `lockstep_outbox…` of the database that `SqlModule` talks to. */
export class PostgresOutboxStore implements OutboxStore {
  readonly operations: PostgresOutboxOperations;
  readonly prepared: PostgresPreparedMessageStore;
  private readonly subscriptions: PostgresSubscriptions;

  constructor(
    private readonly sql: Sql,
    private readonly leases: RowLeases,
  ) {
    this.subscriptions = new PostgresSubscriptions(sql);
    this.operations = new PostgresOutboxOperations(sql, this.subscriptions, () => this.ready());
    this.prepared = new PostgresPreparedMessageStore(sql, (tx, records) => this.append(tx, records));
  }

  async append(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    for (const { text, params } of await this.inserts(transaction, records)) await transaction.execute(text, params);
  }

  async appendLast(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    if (!transaction.lastly) return this.append(transaction, records);
    for (const { text, params } of await this.inserts(transaction, records)) transaction.lastly(text, params);
  }

  private async inserts(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<readonly Statement[]> {
    await this.ready();
    const drawn = await this.draw(transaction, records);
    const [first, second] = drawn;
    if (first && !second && first.delayMs === 0) return [insertOf(first)];
    const rows = drawn.map(({ message, shard, awaitsAck, delayMs }) => ({
      shard,
      awaits_ack: awaitsAck,
      delay_ms: delayMs,
      ...columnsOf(message),
    }));
    const [now, later] = [rows.filter((row) => row.delay_ms === 0), rows.filter((row) => row.delay_ms > 0)];
    return [
      ...(now.length > 0 ? [{ text: APPEND, params: [JSON.stringify(now)] }] : []),
      ...(later.length > 0 ? [{ text: APPEND_DELAYED, params: [JSON.stringify(later)] }] : []),
    ];
  }

  async promote(limit: number, patient = false): Promise<{ promoted: number; nextDueInMs: number | undefined }> {
    await this.ready();
    return this.within(patient, async (statements) => {
      const promoted = await statements.execute(PROMOTE, [limit]);
      const [next] = await statements.query<{ inMs: string }>(NEXT_DUE);
      return { promoted, nextDueInMs: next ? Math.max(Number(next.inMs), 0) : undefined };
    });
  }

  lease(name: string, ttlMs: number): Promise<ShardLease | undefined> {
    return this.leases.tryAcquire(name, ttlMs);
  }

  async claim(request: ClaimRequest): Promise<ClaimedMessages> {
    await this.ready();
    const { fromShard, toShard, limit, redeliverAfterMs, after = '0', patient = false } = request;
    const params = [fromShard, toShard, limit, redeliverAfterMs, after];
    const rows = await this.within(patient, (statements) => statements.query<ClaimedRow>(CLAIM, params));
    const deliveries = rows.map((row) => ({
      ...deliveryOf(row),
      place: row.moves ? undefined : { shard: row.shard, position: row.position },
    }));
    const [first] = rows;
    return {
      deliveries,
      messages: new Set(rows.map(({ shard, position }) => `${shard}/${position}`)).size,
      claimedAt: first ? Number(first.claimedAt) : undefined,
      reached: rows.findLast(({ shard }) => shard === fromShard)?.position,
    };
  }

  async overdue(request: OverdueRequest): Promise<readonly OutboxDelivery[]> {
    await this.ready();
    const { limit, redeliverAfterMs, redeliverAtMostMs, patient = false } = request;
    const rows = await this.within(patient, async (statements) => {
      await statements.execute(ROUTE_PARKED, [limit]);
      return statements.query<DeliveryRow>(OVERDUE, [limit, redeliverAfterMs, redeliverAtMostMs]);
    });
    return rows.map(deliveryOf).sort((a, b) => (a.message.id < b.message.id ? -1 : 1));
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    await this.ready();
    const places = settlements.filter((one) => one.outcome === 'accepted');
    const deferred = settlements.filter((one) => one.outcome === 'deferred');
    const acks = settlements.filter((one) => one.outcome === 'acknowledged');
    const waits = settlements.filter((one) => one.outcome === 'waiting');
    // First the dead letters: a message that the transport refuses may have no row but the one that is removed below.
    for (const dead of settlements.filter((one) => one.outcome === 'dead')) await this.bury(dead);
    if (places.length > 0) await this.sql.execute(ACCEPTED, [JSON.stringify(places)]);
    if (deferred.length > 0) await this.sql.execute(DEFERRED, [JSON.stringify(deferred)]);
    if (acks.length > 0) {
      const rows = acks.map(({ consumer, messageId }) => ({ consumer, message_id: messageId }));
      await this.sql.execute(ACKNOWLEDGED, [JSON.stringify(rows)]);
    }
    if (waits.length > 0) {
      const rows = waits.map(({ consumer, messageId, forMs }) => ({ consumer, message_id: messageId, for_ms: forMs }));
      await this.sql.execute(WAITING, [JSON.stringify(rows)]);
    }
  }

  async subscribe(routes: readonly MessageRoute[]): Promise<void> {
    await this.ready();
    await this.subscriptions.begin(routes);
  }

  private async draw(tx: SqlTransaction, records: readonly OutboxRecord[]): Promise<readonly OutboxRecord[]> {
    const draws = drawsOf(records);
    if (draws.length === 0) return records;
    const rows = await tx.query<DrawnRow>(DRAW, [JSON.stringify(draws)]);
    return withSequences(records, draws, rows.map(drawnOf));
  }

  private async bury({ consumer, messageId, error, message }: Dead): Promise<void> {
    const given = message ? [{ ...columnsOf(message), published_at: message.publishedAt }] : [];
    const noticeId = failureNoticeId(messageId, consumer);
    await this.sql.execute(BURY, [consumer, messageId, errorText(error), JSON.stringify(given), noticeId]);
  }

  /** Where it is to be patient, in a transaction: a statement there has more time than one that is alone. */
  private within<T>(patient: boolean, work: (statements: Pick<Sql, 'query' | 'execute'>) => Promise<T>): Promise<T> {
    return patient ? this.begun(work) : work(this.sql);
  }

  /** A transaction of the store's own, whatever is open around. */
  private begun<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T> {
    return this.sql.transaction(work, { propagation: 'requires-new', isolation: 'read committed' });
  }

  private ready(): Promise<void> {
    return this.sql.ensureMigrated(MIGRATIONS);
  }
}

function insertOf({ message, shard, awaitsAck }: OutboxRecord): Statement {
  const { id, topic, key = null, payload, headers } = message;
  return { text: APPEND_ONE, params: [shard, awaitsAck, id, topic, key, payload, JSON.stringify(headers)] };
}

function deliveryOf(row: DeliveryRow): OutboxDelivery {
  const { consumer, awaitsAck, deliveries } = row;
  return { message: withStart(envelopeOf(row), row.start), consumer, awaitsAck, deliveries, place: undefined };
}

/** Keeps messages in the Postgres of `SqlModule`, whose transactions they join. Creates its tables at first use. */
export function postgresOutboxStore(): DriverProvider<OutboxStore> {
  return {
    inject: [Sql, RowLeases],
    useFactory: async (sql: Sql, leases: RowLeases) => {
      await sql.migrateAtBoot(MIGRATIONS);
      return new PostgresOutboxStore(sql, leases);
    },
  };
}
