import type { SqlTransaction } from '@lockstep/sql';
import { failureNoticeOf } from '../../failure-notice.js';
import type { MessageEnvelope } from '../../message.js';
import type { OutboxPlace, Settlement } from '../../outbox-store.js';
import { errorText } from '../error-text.js';
import type { MessageRow } from '../sql/outbox-rows.js';
import { BURY, BURY_FLIGHT, IS_DEAD, LAND, LOCK_FLIGHT, NOTIFY, WAITING } from './flight-statements.js';
import { entryOf, hexOf, messageOfRow } from './mariadb-rows.js';
import { LOCK_PLACES, MOVE, REMOVE } from './outbox-statements.js';
import type { OwnTransactions } from './own-transactions.js';

type Of<Outcome extends Settlement['outcome']> = Extract<Settlement, { outcome: Outcome }>;

/** Lists go out in one order, so that two of them cannot wait for each other. */
export class MariaDbSettlements {
  constructor(private readonly own: OwnTransactions) {}

  async settle(settlements: readonly Settlement[]): Promise<void> {
    // First the dead letters: a message that the transport refuses may have no row but the one that is removed below.
    for (const dead of settlements.filter((one) => one.outcome === 'dead')) await this.bury(dead);
    const accepted = settlements.filter((one) => one.outcome === 'accepted');
    if (accepted.length > 0) await this.own.execute(REMOVE, [JSON.stringify(accepted.sort(byPlace))]);
    const deferred = settlements.filter((one) => one.outcome === 'deferred');
    if (deferred.length > 0) await this.defer(deferred.sort(byPlace));
    const acks = settlements.filter((one) => one.outcome === 'acknowledged');
    if (acks.length > 0) await this.own.execute(LAND, [listOf(acks)]);
    const waits = settlements.filter((one) => one.outcome === 'waiting');
    if (waits.length > 0) await this.own.execute(WAITING, [listOf(waits)]);
  }

  private async defer(deferred: readonly Of<'deferred'>[]): Promise<void> {
    const places = JSON.stringify(deferred);
    await this.own.transaction(async (tx) => {
      await tx.query(LOCK_PLACES, [places]);
      await tx.execute(MOVE, [places, 0, 1]);
      await tx.execute(REMOVE, [places]);
    });
  }

  private async bury({ consumer, messageId, error, message }: Of<'dead'>): Promise<void> {
    const id = hexOf(messageId);
    const text = errorText(error);
    await this.own.transaction(async (tx) => {
      const [flight] = await tx.query<MessageRow>(LOCK_FLIGHT, [consumer, id]);
      const dead = flight ? messageOfRow(flight) : message;
      if (!dead) return;
      const [before] = await tx.query(IS_DEAD, [consumer, id]);
      if (!before) {
        if (flight) await tx.execute(BURY_FLIGHT, [consumer, id, text]);
        else
          await tx.execute(BURY, [
            consumer,
            text,
            JSON.stringify([{ ...entryOf(dead), published_at: dead.publishedAt }]),
          ]);
        await tell(tx, dead, consumer, text);
      }
      if (flight) await tx.execute(LAND, [JSON.stringify([{ consumer, message_id: id }])]);
    });
  }
}

async function tell(tx: SqlTransaction, dead: MessageEnvelope, consumer: string, error: string): Promise<void> {
  const notice = failureNoticeOf(dead, consumer, error);
  if (notice) await tx.execute(NOTIFY, [notice.consumer, JSON.stringify([entryOf(notice.message)])]);
}

function byPlace(a: OutboxPlace, b: OutboxPlace): number {
  return a.shard - b.shard || (BigInt(a.position) < BigInt(b.position) ? -1 : 1);
}

function listOf(flights: readonly (Of<'acknowledged'> | Of<'waiting'>)[]): string {
  const rows = flights.map((one) => ({
    consumer: one.consumer,
    message_id: hexOf(one.messageId),
    for_ms: one.outcome === 'waiting' ? one.forMs : 0,
  }));
  return JSON.stringify(rows.sort((a, b) => (a.consumer + a.message_id < b.consumer + b.message_id ? -1 : 1)));
}
