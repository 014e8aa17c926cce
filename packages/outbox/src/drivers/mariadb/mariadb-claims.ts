import type { SqlTransaction } from '@lockstep/sql';
import { type ClaimedMessages, type ClaimRequest, NO_CONSUMER, type OutboxDelivery } from '../../outbox-store.js';
import type { MessageRow } from '../sql/outbox-rows.js';
import { SHARE_GATE } from './flight-statements.js';
import { messageOfRow } from './mariadb-rows.js';
import { withStarts, writeStarts } from './mariadb-starts.js';
import { CONSUMERS, HAS_PENDING, HEAD, MOVE, REMOVE } from './outbox-statements.js';
import type { OwnTransactions } from './own-transactions.js';

interface HeadRow extends MessageRow {
  readonly shard: number;
  readonly position: string;
  readonly awaitsAck: number;
  readonly claimedAt: string;
}

interface ConsumerRow {
  readonly topic: string;
  readonly consumer: string;
  readonly since: string;
}

interface Routed {
  readonly delivery: OutboxDelivery;
  /** Epoch milliseconds: the consumer's start in keys that are not younger is written with their first message. */
  readonly since: number;
  readonly place: { readonly shard: number; readonly position: string };
  readonly moves: boolean;
}

const NOBODY = { consumer: NO_CONSUMER, since: '0' };
const NOTHING: ClaimedMessages = { deliveries: [], messages: 0, claimedAt: undefined, reached: undefined };

/**
 * Claims in one transaction, whose number of statements does not depend on that of the messages: the gate, the head of
 * the shards, their consumers, where strict ones of older keys begin, and where something moves, insert and delete.
 */
export class MariaDbClaims {
  constructor(private readonly own: OwnTransactions) {}

  async claim(request: ClaimRequest): Promise<ClaimedMessages> {
    const { fromShard, toShard, limit, redeliverAfterMs, after = '0', patient = false } = request;
    const range = [fromShard, toShard, after];
    // An idle relay asks one thing only.
    const pending = await this.own.look(HAS_PENDING, range, patient);
    if (pending.length === 0) return NOTHING;
    return this.own.transaction(async (tx) => {
      await tx.query(SHARE_GATE);
      const head = await tx.query<HeadRow>(HEAD, [...range, limit]);
      const [first] = head;
      if (!first) return NOTHING;
      const routed = await this.route(tx, head);
      await writeStarts(tx, routed);
      await this.move(tx, routed, redeliverAfterMs);
      const deliveries = routed.map(({ delivery }) => delivery);
      return {
        deliveries: await withStarts(tx, deliveries),
        messages: head.length,
        claimedAt: Number(first.claimedAt),
        reached: head.findLast(({ shard }) => shard === fromShard)?.position,
      };
    });
  }

  private async route(tx: SqlTransaction, head: readonly HeadRow[]): Promise<readonly Routed[]> {
    const topics = [...new Set(head.map(({ topic }) => topic))].map((topic) => ({ topic }));
    const rows = await tx.query<ConsumerRow>(CONSUMERS, [JSON.stringify(topics)]);
    const consumers = new Map<string, ConsumerRow[]>();
    for (const known of rows) consumers.set(known.topic, [...(consumers.get(known.topic) ?? []), known]);
    return head.flatMap((row) => routesOf(row, consumers.get(row.topic)));
  }

  private async move(tx: SqlTransaction, routed: readonly Routed[], redeliverAfterMs: number): Promise<void> {
    const moving = routed.filter(({ moves }) => moves);
    if (moving.length === 0) return;
    const rows = moving.map(({ place, delivery }) => ({ ...place, consumer: delivery.consumer }));
    await tx.execute(MOVE, [JSON.stringify(rows), redeliverAfterMs, 1]);
    await tx.execute(REMOVE, [JSON.stringify(rows)]);
  }
}

function routesOf(row: HeadRow, consumers: readonly Omit<ConsumerRow, 'topic'>[] = []): Routed[] {
  const { shard, position } = row;
  const awaitsAck = Boolean(row.awaitsAck);
  const moves = awaitsAck || consumers.length === 0;
  const message = messageOfRow(row);
  const place = { shard, position };
  return (consumers.length === 0 ? [NOBODY] : consumers).map(({ consumer, since }) => ({
    delivery: { message, consumer, awaitsAck, deliveries: 1, place: moves ? undefined : place },
    since: Number(since),
    place,
    moves,
  }));
}
