import type { SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from '../../message.js';
import { SEQUENCE_HEADER } from '../../message-headers.js';
import type { OutboxDelivery } from '../../outbox-store.js';
import { parseSequence } from '../../sequence.js';
import { withStart } from '../with-start.js';
import { KEPT, SHARDS, STARTS, WRITE_STARTS } from './start-statements.js';

/** A key at a consumer. */
interface Place {
  readonly topic: string;
  readonly key: string;
  readonly consumer: string;
}

interface StartRow extends Place {
  readonly sequence: string;
}

/** A delivery on its way out of the outbox. */
interface Leaving {
  readonly delivery: OutboxDelivery;
  readonly since: number;
  readonly place: { readonly position: string };
}

interface First extends Place {
  readonly position: bigint;
}

/**
 * Writes where consumers begin in keys that are older than their subscriptions, of which they are given the first message
 * now: with the smallest sequence that is left in the outbox. The caller holds the gate, and his messages are still there.
 * A subscription that wrote a row for every key would stop all claims meanwhile. Why that is the first one they are given:
 *
 * - No claim is under way while a subscription is made. So what is left in the outbox was routed by no claim without the
 *   consumer; what is parked got its start when he subscribed.
 * - Whoever draws a sequence waits for the end of whoever drew the one before. So who sees a row sees all earlier ones of
 *   its key, with smaller positions: an earlier one can only be left where this claim does not look, in another shard
 *   (their number was changed) or before the place where it begins.
 * - A claim at the same time that removes the earlier one has written the start before it did; that one stays.
 * - A key whose generation is later than the subscription had no message before it: its consumer is given all.
 */
export async function writeStarts(tx: SqlTransaction, leaving: readonly Leaving[]): Promise<void> {
  const older = leaving.filter(isOfOlderKey).map(firstOf);
  if (older.length === 0) return;
  const named = new Map(older.map((first) => [nameOf(first), first]));
  for (const { topic, key, consumer } of await tx.query<StartRow>(STARTS, [listOf(named)])) {
    named.delete(nameOf({ topic, key, consumer }));
  }
  if (named.size === 0) return;
  const shards = await tx.query(SHARDS);
  const [last] = older.map(({ position }) => position).sort((a, b) => (a > b ? -1 : 1));
  const kept = await tx.query<Omit<StartRow, 'consumer'>>(KEPT, [JSON.stringify(shards), String(last), listOf(named)]);
  const smallest = new Map(kept.map(({ topic, key, sequence }) => [`${topic}\0${key}`, sequence]));
  const starts = [...named]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { topic, key, consumer }]) => ({
      topic,
      key,
      consumer,
      sequence: smallest.get(`${topic}\0${key}`),
    }));
  await tx.execute(WRITE_STARTS, [JSON.stringify(starts)]);
}

/** The deliveries with what their consumers must be told of where they begin. Asks only where there are strict ones. */
export async function withStarts(
  tx: SqlTransaction,
  deliveries: readonly OutboxDelivery[],
): Promise<readonly OutboxDelivery[]> {
  const strict = deliveries.filter(({ message }) => message.headers[SEQUENCE_HEADER] !== undefined);
  if (strict.length === 0) return deliveries;
  const asked = new Map(strict.map(placeOf).map((place) => [nameOf(place), place]));
  const rows = await tx.query<StartRow>(STARTS, [listOf(asked)]);
  const starts = new Map(rows.map((row) => [nameOf(row), row.sequence]));
  return deliveries.map((delivery) => ({ ...delivery, message: startedBy(starts, delivery) }));
}

function startedBy(starts: ReadonlyMap<string, string>, delivery: OutboxDelivery): MessageEnvelope {
  return withStart(delivery.message, starts.get(nameOf(placeOf(delivery))));
}

function isOfOlderKey({ delivery: { message }, since }: Leaving): boolean {
  const sequence = since > 0 && message.key !== undefined ? parseSequence(message.headers[SEQUENCE_HEADER]) : undefined;
  return sequence !== undefined && sequence.generation <= since;
}

function firstOf({ delivery, place: { position } }: Leaving): First {
  return { ...placeOf(delivery), position: BigInt(position) };
}

function placeOf({ message: { topic, key = '' }, consumer }: OutboxDelivery): Place {
  return { topic, key, consumer };
}

function listOf(places: ReadonlyMap<string, Place>): string {
  return JSON.stringify([...places.values()].map(({ topic, key, consumer }) => ({ topic, key, consumer })));
}

function nameOf({ topic, key, consumer }: Place): string {
  return `${topic}\0${key}\0${consumer}`;
}
