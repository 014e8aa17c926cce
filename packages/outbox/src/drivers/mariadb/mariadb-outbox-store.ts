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
import { drawsOf, withSequences } from '../draw-sequences.js';
import { type DrawnRow, drawnOf } from '../sql/outbox-rows.js';
import { MariaDbClaims } from './mariadb-claims.js';
import { MariaDbOutboxOperations } from './mariadb-outbox-operations.js';
import { MariaDbPreparedMessageStore } from './mariadb-prepared-message-store.js';
import { MariaDbRedeliveries } from './mariadb-redeliveries.js';
import { entryOf } from './mariadb-rows.js';
import { MariaDbSettlements } from './mariadb-settlements.js';
import { MariaDbSubscriptions } from './mariadb-subscriptions.js';
import { APPEND, APPEND_DELAYED, LOCK_DUE, NEXT_DUE, PROMOTE, REMOVE_DELAYED } from './outbox-statements.js';
import { OwnTransactions } from './own-transactions.js';
import { DRAW } from './sequence-statements.js';

const MIGRATIONS: MigrationSet = { name: 'outbox', directory: new URL('./migrations/', import.meta.url) };
/** A quarter of the packet that the server takes by default, in characters: in UTF-8 some need more than one byte. */
const MAX_LIST_CHARS = 4_000_000;

/** {@link OutboxStore} on tables `lockstep_outbox…` of the MariaDB 10.6 or later that `SqlModule` talks to. */
export class MariaDbOutboxStore implements OutboxStore {
  readonly operations: MariaDbOutboxOperations;
  readonly prepared: MariaDbPreparedMessageStore;
  private readonly own: OwnTransactions;
  private readonly claims: MariaDbClaims;
  private readonly redeliveries: MariaDbRedeliveries;
  private readonly settlements: MariaDbSettlements;
  private readonly subscriptions: MariaDbSubscriptions;

  constructor(
    private readonly sql: Sql,
    private readonly leases: RowLeases,
  ) {
    this.own = new OwnTransactions(sql);
    this.subscriptions = new MariaDbSubscriptions(sql, this.own);
    this.operations = new MariaDbOutboxOperations(sql, this.own, this.subscriptions, () => this.ready());
    this.prepared = new MariaDbPreparedMessageStore(sql, (tx, records) => this.append(tx, records));
    this.claims = new MariaDbClaims(this.own);
    this.redeliveries = new MariaDbRedeliveries(this.own);
    this.settlements = new MariaDbSettlements(this.own);
  }

  async append(transaction: SqlTransaction, records: readonly OutboxRecord[]): Promise<void> {
    await this.ready();
    const drawn = await this.draw(transaction, records);
    const now = drawn.filter(({ delayMs }) => delayMs === 0);
    const later = drawn.filter(({ delayMs }) => delayMs > 0);
    for (const entries of listsOf(now)) await transaction.execute(APPEND, [entries]);
    for (const entries of listsOf(later)) await transaction.execute(APPEND_DELAYED, [entries]);
  }

  lease(name: string, ttlMs: number): Promise<ShardLease | undefined> {
    return this.leases.tryAcquire(name, ttlMs);
  }

  async claim(request: ClaimRequest): Promise<ClaimedMessages> {
    await this.ready();
    return this.claims.claim(request);
  }

  async overdue(request: OverdueRequest): Promise<readonly OutboxDelivery[]> {
    await this.ready();
    return this.redeliveries.overdue(request);
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    await this.ready();
    await this.settlements.settle(settlements);
  }

  async promote(limit: number, patient = false): Promise<{ promoted: number; nextDueInMs: number | undefined }> {
    await this.ready();
    const waiting = await this.nextDueInMs(patient);
    if (waiting === undefined || waiting > 0) return { promoted: 0, nextDueInMs: waiting };
    const promoted = await this.own.transaction(async (tx) => {
      const due = await tx.query(LOCK_DUE, [limit]);
      if (due.length === 0) return 0;
      await tx.execute(PROMOTE, [JSON.stringify(due)]);
      return tx.execute(REMOVE_DELAYED, [JSON.stringify(due)]);
    });
    return { promoted, nextDueInMs: await this.nextDueInMs(patient) };
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

  private async nextDueInMs(patient: boolean): Promise<number | undefined> {
    const [next] = await this.own.look<{ inMs: string }>(NEXT_DUE, [], patient);
    return next ? Math.max(Number(next.inMs), 0) : undefined;
  }

  private ready(): Promise<void> {
    return this.sql.ensureMigrated(MIGRATIONS);
  }
}

/** As many lists as it takes for each to fit into a packet; a message that is larger by itself goes alone. */
function listsOf(records: readonly OutboxRecord[]): string[] {
  const lists: string[][] = [];
  let chars = Number.POSITIVE_INFINITY;
  for (const { message, shard, awaitsAck, delayMs } of records) {
    const entry = JSON.stringify({ shard, awaits_ack: Number(awaitsAck), delay_ms: delayMs, ...entryOf(message) });
    chars += entry.length;
    if (chars > MAX_LIST_CHARS) {
      lists.push([]);
      chars = entry.length;
    }
    lists.at(-1)?.push(entry);
  }
  return lists.map((entries) => `[${entries.join(',')}]`);
}

/** Keeps messages in the MariaDB of `SqlModule`, whose transactions they join. Creates its tables at first use. */
export function mariadbOutboxStore(): DriverProvider<OutboxStore> {
  return {
    inject: [Sql, RowLeases],
    useFactory: async (sql: Sql, leases: RowLeases) => {
      await sql.migrateAtBoot(MIGRATIONS);
      return new MariaDbOutboxStore(sql, leases);
    },
  };
}
