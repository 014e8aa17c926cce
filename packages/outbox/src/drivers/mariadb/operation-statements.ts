import { AWAITED_AGAIN, SEQUENCE_HEADER, SKIP_HEADER } from '../../message-headers.js';
import type { DeadLetterQuery } from '../../outbox-store.js';
import { FLYING, NOTHING_NEW } from './flight-statements.js';
import { epochMs, has, list, MESSAGE, messageOf, selected } from './outbox-columns.js';

const ageMs = (oldest: string): string =>
  `CAST(COALESCE(GREATEST(TIMESTAMPDIFF(MICROSECOND, ${oldest}, UTC_TIMESTAMP(6)) DIV 1000, 0), 0) AS CHAR)`;
const capped = (table: string): string =>
  `(SELECT CAST(COUNT(*) AS CHAR) FROM (SELECT 1 FROM ${table} LIMIT 10000) counted)`;
const headOf = (consumer: string): string => `(SELECT flight.published_at FROM lockstep_outbox_inflight flight
    WHERE flight.consumer = ${consumer} ORDER BY flight.message_id LIMIT 1)`;

/**
 * $1 list of shards. The head of each index range is its oldest: nothing is read but heads. From one consumer that has
 * something in flight to the next, subscribed or not, is one step along the index.
 */
export const FACTS = `
WITH RECURSIVE flier AS (
  SELECT MIN(consumer) AS consumer FROM lockstep_outbox_inflight
  UNION ALL
  SELECT (SELECT MIN(flight.consumer) FROM lockstep_outbox_inflight flight WHERE flight.consumer > flier.consumer)
  FROM flier WHERE flier.consumer IS NOT NULL
)
SELECT ${ageMs(`(SELECT MIN((SELECT pending.published_at FROM lockstep_outbox pending
    WHERE pending.shard = one.shard ORDER BY pending.id LIMIT 1)) FROM ${list('$1', 'one', 'shard')})`)} AS oldestPendingMs,
  ${ageMs(`(SELECT MIN(${headOf('flier.consumer')}) FROM flier
    WHERE flier.consumer <> '')`)} AS oldestInFlightMs,
  ${ageMs(headOf("''"))} AS oldestParkedMs,
  ${ageMs('(SELECT due_at FROM lockstep_outbox_delayed ORDER BY due_at LIMIT 1)')} AS oldestDueMs,
  ${capped('lockstep_outbox')} AS pending, ${capped('lockstep_outbox_inflight')} AS inFlight,
  ${capped('lockstep_outbox_delayed')} AS \`delayed\`, ${capped('lockstep_outbox_dead')} AS dead`;

/**
 * $1 limit, $2 consumer, $3 topic, $4 and $5 id and consumer of the last one seen. Only the conditions that are asked
 * for: the planner makes one plan for all values of a parameter.
 */
export function deadLetters({ consumer, topic, blocking, after }: DeadLetterQuery): string {
  const conditions = [
    consumer === undefined ? [] : 'dead.consumer = $2',
    topic === undefined ? [] : 'dead.topic = $3',
    blocking ? has('dead.headers', SEQUENCE_HEADER) : [],
    after === undefined ? [] : 'dead.message_id >= UNHEX($4) AND (dead.message_id > UNHEX($4) OR dead.consumer > $5)',
  ].flat();
  return `
SELECT ${selected('dead')}, dead.consumer, dead.error, ${epochMs('dead.failed_at')} AS failedAt
FROM lockstep_outbox_dead dead ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
ORDER BY dead.message_id, dead.consumer LIMIT $1`;
}

const LETTERS = `${list('$1', 'one', 'consumer', 'message_id')} STRAIGHT_JOIN lockstep_outbox_dead dead
  FORCE INDEX (PRIMARY) ON dead.message_id = UNHEX(one.message_id) AND dead.consumer = one.consumer`;

const lockLetters = (which: string): string =>
  `SELECT LOWER(HEX(dead.message_id)) AS message_id, dead.consumer FROM ${LETTERS} WHERE ${which} FOR UPDATE`;

const withHeaders = (added: Readonly<Record<string, string>>): string =>
  `JSON_SET(dead.headers${Object.entries(added)
    .map(([name, value]) => `, '$."${name}"', '${value}'`)
    .join('')})`;

// What a letter is to be skipped by must also be on what is in flight beside it, and travel at once.
const TO_BE_SKIPPED = `ON DUPLICATE KEY UPDATE lockstep_outbox_inflight.headers = VALUES(headers),
  lockstep_outbox_inflight.awaits_ack = TRUE, lockstep_outbox_inflight.deliveries = 0,
  lockstep_outbox_inflight.redeliver_at = VALUES(redeliver_at)`;

/** @param beside what becomes of those that are in flight already */
const flyAgain = (added: Readonly<Record<string, string>>, beside: string): string => `
INSERT INTO lockstep_outbox_inflight (${FLYING})
SELECT dead.consumer, ${messageOf('dead').replace('dead.headers', withHeaders(added))}, TRUE, dead.published_at, 0,
  UTC_TIMESTAMP(6)
FROM ${LETTERS}
${beside}`;

/** Whether the letter holds up its key: nothing waits for a turn that nobody can read, or at a consumer that was retired. */
const holdsUp = (row: string): string => `${row}.message_key IS NOT NULL
    AND COALESCE(JSON_VALUE(${row}.headers, '$."${SEQUENCE_HEADER}"'), '') REGEXP '^[0-9]+[.][0-9]+$' AND EXISTS (
    SELECT 1 FROM lockstep_outbox_subscription known WHERE known.topic = ${row}.topic AND known.consumer = ${row}.consumer)`;

/** Both take $1 ids, and then $1 those that were locked. */
export const REPLAY = { lock: lockLetters('TRUE'), fly: flyAgain(AWAITED_AGAIN, NOTHING_NEW) };
export const SKIP = {
  lock: lockLetters(has('dead.headers', SEQUENCE_HEADER)),
  fly: flyAgain({ ...AWAITED_AGAIN, [SKIP_HEADER]: '1' }, TO_BE_SKIPPED),
};

/** $1 letters. Locks nothing. */
export const HOLDING_UP = `
SELECT LOWER(HEX(dead.message_id)) AS message_id, dead.consumer FROM ${LETTERS} WHERE ${holdsUp('dead')}`;

/** $1 letters. */
export const REMOVE_LETTERS = `DELETE dead FROM ${LETTERS}`;

/**
 * $1 age in ms, $2 the smallest UUIDv7 of that time: a message dies after it was made, so the key bounds the search.
 * Instances purge side by side: each passes over what another has in hand.
 */
export const PURGE = `
DELETE dead FROM (
  SELECT message_id, consumer FROM lockstep_outbox_dead letter
  WHERE message_id < UNHEX($2) AND failed_at < UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND
    AND NOT (${holdsUp('letter')})
  LIMIT 1000 FOR UPDATE SKIP LOCKED
) old STRAIGHT_JOIN lockstep_outbox_dead dead FORCE INDEX (PRIMARY)
  ON dead.message_id = old.message_id AND dead.consumer = old.consumer`;

/** $1 topic, $2 consumer. */
export const LOCK_RETIRED = `
SELECT consumer, LOWER(HEX(message_id)) AS message_id FROM lockstep_outbox_inflight FORCE INDEX (PRIMARY)
WHERE consumer = $2 AND topic = $1 ORDER BY message_id LIMIT 1000 FOR UPDATE`;

/** $1 flights. */
export const BURY_RETIRED = `
INSERT INTO lockstep_outbox_dead (consumer, error, ${MESSAGE}, published_at)
SELECT flight.consumer, 'the subscription was retired', ${messageOf('flight')}, flight.published_at
FROM ${list('$1', 'one', 'consumer', 'message_id')} STRAIGHT_JOIN lockstep_outbox_inflight flight FORCE INDEX (PRIMARY)
  ON flight.consumer = one.consumer AND flight.message_id = UNHEX(one.message_id)
ON DUPLICATE KEY UPDATE lockstep_outbox_dead.error = lockstep_outbox_dead.error`;
