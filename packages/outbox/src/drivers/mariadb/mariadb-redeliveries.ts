import type { SqlTransaction } from '@lockstep/sql';
import type { OutboxDelivery, OverdueRequest } from '../../outbox-store.js';
import type { MessageRow } from '../sql/outbox-rows.js';
import { FIND_DUE, LAND, LOCK_DUE, PUT_OFF, ROUTE, SHARE_GATE } from './flight-statements.js';
import { messageOfRow } from './mariadb-rows.js';
import { withStarts } from './mariadb-starts.js';
import type { OwnTransactions } from './own-transactions.js';

interface Flight {
  readonly consumer: string;
  /** In hexadecimal digits. */
  readonly message_id: string;
}

interface DueRow extends Flight {
  readonly routable: number;
}

interface FlyingRow extends MessageRow {
  readonly consumer: string;
  readonly awaitsAck: number;
  readonly deliveries: string;
}

/**
 * Gives out again what is overdue. It is found along the index without a lock and locked by its key: an acknowledgement
 * goes from the key to the index, and whoever came the other way would wait for those who wait for him.
 */
export class MariaDbRedeliveries {
  constructor(private readonly own: OwnTransactions) {}

  async overdue(request: OverdueRequest): Promise<readonly OutboxDelivery[]> {
    const { limit, redeliverAfterMs, redeliverAtMostMs, patient = false } = request;
    const found = await this.find(limit, patient);
    const parked = found.filter(({ routable }) => Boolean(routable));
    if (parked.length > 0) await this.own.transaction((tx) => this.route(tx, parked));
    const due = (parked.length > 0 ? await this.find(limit, patient) : found).filter(({ routable }) => !routable);
    if (due.length === 0) return [];
    return this.own.transaction(async (tx) => {
      const rows = await tx.query<FlyingRow>(LOCK_DUE, [JSON.stringify(due)]);
      if (rows.length === 0) return [];
      await tx.execute(PUT_OFF, [JSON.stringify(rows.map(flightOf)), redeliverAfterMs, redeliverAtMostMs]);
      const deliveries = rows.map(deliveryOf).sort((a, b) => (a.message.id < b.message.id ? -1 : 1));
      return withStarts(tx, deliveries);
    });
  }

  private find(limit: number, patient: boolean): Promise<DueRow[]> {
    return this.own.look<DueRow>(FIND_DUE, [limit], patient);
  }

  /** Nobody subscribes meanwhile: a consumer would be told to begin with what is no longer kept for it. */
  private async route(tx: SqlTransaction, parked: readonly Flight[]): Promise<void> {
    await tx.query(SHARE_GATE);
    const rows = await tx.query<FlyingRow>(LOCK_DUE, [JSON.stringify(parked)]);
    const flights = JSON.stringify(rows.map(flightOf));
    await tx.execute(ROUTE, [flights]);
    await tx.execute(LAND, [flights]);
  }
}

function flightOf({ consumer, id }: FlyingRow): Flight {
  return { consumer, message_id: id };
}

function deliveryOf(row: FlyingRow): OutboxDelivery {
  const { consumer } = row;
  const deliveries = Number(row.deliveries);
  return { message: messageOfRow(row), consumer, awaitsAck: Boolean(row.awaitsAck), deliveries, place: undefined };
}
