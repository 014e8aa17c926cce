import type { DriverProvider } from '@lockstep/core';
import { type MigrationSet, RowLeases, Sql, type SqlTransaction } from '@lockstep/sql';
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
import { columnsOf, envelopeOf, type MessageRow } from './outbox-rows.js';
import {
  ACCEPTED,
  ACKNOWLEDGED,
  APPEND,
  BURY,
  CLAIM,
  DEFERRED,
  OVERDUE,
  ROUTE_PARKED,
  SUBSCRIBE,
} from './outbox-statements.js';
import { PostgresOutboxOperations } from './postgres-outbox-operations.js';

const MIGRATIONS: MigrationSet = { name: 'outbox', directory: new URL('./migrations/', import.meta.url) };
const MAX_ERROR_CHARS = 2_000;

interface DeliveryRow extends MessageRow {
  readonly consumer: string;
  readonly awaitsAck: boolean;
  readonly deliveries: number;
}

interface ClaimedRow extends DeliveryRow {
  readonly shard: number;
  readonly position: string;
  readonly moves: boolean;
}

type Dead = Extract<Settlement, { outcome: 'dead' }>;

/** {@link OutboxStore} on tables `lockstep_outbox…` of the database that `SqlModule` talks to. */
export class PostgresOutboxStore implements OutboxStore {
  readonly operations: PostgresOutboxOperations;

  constructor(
    private readonly sql: Sql,
    private readonly leases: RowLeases,
  ) {
    this.operations = new PostgresOutboxOperations(sql, () => this.ready());
  }

  async append(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    await this.ready();
    const rows = records.map(({ message, shard, awaitsAck }) => ({
      shard,
      awaits_ack: awaitsAck,
      ...columnsOf(message),
    }));
    await transaction.execute(APPEND, [JSON.stringify(rows)]);
  }

  lease(name: string, ttlMs: number): Promise<ShardLease | undefined> {
    return this.leases.tryAcquire(name, ttlMs);
  }

  async claim({ fromShard, toShard, limit, redeliverAfterMs }: ClaimRequest): Promise<ClaimedMessages> {
    await this.ready();
    const rows = await this.sql.query<ClaimedRow>(CLAIM, [fromShard, toShard, limit, redeliverAfterMs]);
    const deliveries = rows.map((row) => ({
      ...deliveryOf(row),
      place: row.moves ? undefined : { shard: row.shard, position: row.position },
    }));
    return { deliveries, messages: new Set(rows.map(({ shard, position }) => `${shard}/${position}`)).size };
  }

  async overdue({ limit, redeliverAfterMs, redeliverAtMostMs }: OverdueRequest): Promise<readonly OutboxDelivery[]> {
    await this.ready();
    await this.sql.execute(ROUTE_PARKED, [limit]);
    const rows = await this.sql.query<DeliveryRow>(OVERDUE, [limit, redeliverAfterMs, redeliverAtMostMs]);
    return rows.map(deliveryOf).sort((a, b) => (a.message.id < b.message.id ? -1 : 1));
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    await this.ready();
    const places = settlements.filter((one) => one.outcome === 'accepted');
    const deferred = settlements.filter((one) => one.outcome === 'deferred');
    const acks = settlements.filter((one) => one.outcome === 'acknowledged');
    // First the dead letters: a message that the transport refuses may have no row but the one that is removed below.
    for (const dead of settlements.filter((one) => one.outcome === 'dead')) await this.bury(dead);
    if (places.length > 0) await this.sql.execute(ACCEPTED, [JSON.stringify(places)]);
    if (deferred.length > 0) await this.sql.execute(DEFERRED, [JSON.stringify(deferred)]);
    if (acks.length > 0) {
      const rows = acks.map(({ consumer, messageId }) => ({ consumer, message_id: messageId }));
      await this.sql.execute(ACKNOWLEDGED, [JSON.stringify(rows)]);
    }
  }

  async subscribe(routes: readonly MessageRoute[]): Promise<void> {
    await this.ready();
    await this.sql.execute(SUBSCRIBE, [JSON.stringify(routes)]);
  }

  private async bury({ consumer, messageId, error, message }: Dead): Promise<void> {
    const given = message ? [{ ...columnsOf(message), published_at: message.publishedAt }] : [];
    // Text columns cannot hold NUL, and an error may quote anything.
    const text = error.replaceAll('\u0000', '').slice(0, MAX_ERROR_CHARS);
    await this.sql.execute(BURY, [consumer, messageId, text, JSON.stringify(given)]);
  }

  private ready(): Promise<void> {
    return this.sql.ensureMigrated(MIGRATIONS);
  }
}

function deliveryOf(row: DeliveryRow): OutboxDelivery {
  const { consumer, awaitsAck, deliveries } = row;
  return { message: envelopeOf(row), consumer, awaitsAck, deliveries, place: undefined };
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
