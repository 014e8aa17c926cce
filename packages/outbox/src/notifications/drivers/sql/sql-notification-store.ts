import type { MigrationSet, Sql, SqlTransaction } from '@lockstep/sql';
import type {
  AppendOutcome,
  ClaimedNotification,
  ClaimRequest,
  Lane,
  NotificationRecord,
  NotificationSettlement,
  NotificationStore,
} from '../../notification-store.js';
import { inserted, NotificationDatabase, storable } from './notification-database.js';
import { claimed, NOTIFICATION_STATEMENTS } from './notification-statements.js';
import { SqlEndpointStore, secretsOf } from './sql-endpoint-store.js';
import { attemptsOf, SqlNotificationOperations } from './sql-notification-operations.js';
import { SqlReceiptStore } from './sql-receipt-store.js';

interface LaneRow {
  readonly endpoint: string;
  readonly url: string | null;
  readonly secrets: string | null;
  readonly version: number | null;
  readonly due: string;
  readonly disabled: number;
  readonly failing: number;
}

interface ClaimedRow {
  readonly id: string;
  readonly url: string | null;
  readonly body: string;
  readonly attempts: number;
  readonly epoch: string;
  readonly log: string;
  readonly now: string;
}

/** {@link NotificationStore} on tables `lockstep_notification…` of the database that `SqlModule` talks to. */
export class SqlNotificationStore implements NotificationStore {
  readonly endpoints: SqlEndpointStore;
  readonly receipts: SqlReceiptStore;
  readonly operations: SqlNotificationOperations;
  private readonly database: NotificationDatabase;
  private readonly statements: (typeof NOTIFICATION_STATEMENTS)['postgres'];

  constructor(sql: Sql, migrations: MigrationSet) {
    this.database = new NotificationDatabase(sql, migrations);
    this.statements = NOTIFICATION_STATEMENTS[sql.dialect];
    this.endpoints = new SqlEndpointStore(this.database);
    this.receipts = new SqlReceiptStore(this.database);
    this.operations = new SqlNotificationOperations(this.database, (limit) => this.lanes(limit));
  }

  async append(transaction: SqlTransaction, record: NotificationRecord): Promise<AppendOutcome> {
    await this.database.ready();
    const { id, endpoint, url, type, body, delayMs } = record;
    const params = [id, endpoint, url ?? null, type, body, delayMs];
    const { rows, isTaken } = await inserted(() => transaction.execute(this.statements.append, params));
    if (rows === 1) return 'appended';
    const [found] = await transaction.query<{ endpoint: string; type: string }>(this.statements.found, [id]);
    if (found) return found.endpoint === endpoint && found.type === type ? 'duplicate' : 'conflict';
    // The transaction's snapshot does not show the row whose key is taken.
    return isTaken ? 'conflict' : 'unknown-endpoint';
  }

  async lanes(limit: number): Promise<readonly Lane[]> {
    const rows = await this.database.query<LaneRow>(this.statements.lanes, [limit]);
    return rows.map(({ endpoint, url, secrets, version, due, disabled, failing }) => ({
      endpoint,
      url: Number(version) > 0 && url !== null ? url : undefined,
      secrets: secretsOf(secrets ?? '[]'),
      isDisabled: Number(disabled) === 1,
      isFailing: Number(failing) === 1,
      version: Number(version),
      dueInMs: Number(due),
    }));
  }

  async claim(request: ClaimRequest): Promise<readonly ClaimedNotification[]> {
    const { endpoint, limit, leaseMs } = request;
    if (this.database.sql.dialect === 'mariadb') return this.claimInTransaction(request);
    const rows = await this.database.query<ClaimedRow>(this.statements.claim, [endpoint, limit, leaseMs]);
    return rows.map((row) => claimedOf(endpoint, row, 0));
  }

  async settle(settlement: NotificationSettlement): Promise<boolean> {
    const { id, epoch, outcome } = settlement;
    if (outcome === 'released') return (await this.database.execute(this.statements.release, [id, epoch])) === 1;
    const state = outcome === 'retry' ? 'pending' : outcome;
    const reason = 'reason' in settlement ? storable(settlement.reason) : null;
    const delayMs = outcome === 'retry' ? settlement.delayMs : 0;
    const log = JSON.stringify(settlement.attempts);
    const params = [id, epoch, state, reason, log, delayMs, outcome === 'retry' ? 0 : 1];
    return (await this.database.execute(this.statements.settle, params)) === 1;
  }

  cancelPending(endpoint: string, reason: string, limit: number): Promise<number> {
    return this.database.execute(this.statements.cancel, [endpoint, storable(reason), limit]);
  }

  private async claimInTransaction({
    endpoint,
    limit,
    leaseMs,
  }: ClaimRequest): Promise<readonly ClaimedNotification[]> {
    await this.database.ready();
    return this.database.sql.transaction(
      async (tx) => {
        const rows = await tx.query<ClaimedRow>(this.statements.claim, [endpoint, limit]);
        const ids = rows.map(({ id }) => id);
        if (ids.length > 0) await tx.execute(claimed(ids.length), [leaseMs, ...ids]);
        return rows.map((row) => claimedOf(endpoint, row, 1));
      },
      { propagation: 'requires-new' },
    );
  }
}

/** @param more what the row, read before it was claimed, lacks of attempts and epochs */
function claimedOf(endpoint: string, row: ClaimedRow, more: 0 | 1): ClaimedNotification {
  return {
    id: row.id,
    endpoint,
    url: row.url ?? undefined,
    body: row.body,
    attempt: Number(row.attempts) + more,
    epoch: Number(row.epoch) + more,
    attempts: attemptsOf(row.log),
    claimedAt: Number(row.now),
  };
}
