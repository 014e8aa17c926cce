import { SEQUENCE_HEADER } from '../../message-headers.js';
import { has, list } from './outbox-columns.js';

/** $1 routes. */
export const MISSING_ROUTES = `
SELECT topic, consumer FROM ${list('$1', 'route', 'topic', 'consumer')}
WHERE NOT EXISTS (SELECT 1 FROM lockstep_outbox_subscription known
  WHERE known.topic = route.topic AND known.consumer = route.consumer)`;

/** $1 routes. */
export const SUBSCRIBE = `
INSERT INTO lockstep_outbox_subscription (topic, consumer, since)
SELECT DISTINCT topic, consumer, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000
FROM ${list('$1', 'route', 'topic', 'consumer')}
ON DUPLICATE KEY UPDATE lockstep_outbox_subscription.consumer = lockstep_outbox_subscription.consumer`;

/** $1 topic, $2 consumer. */
export const UNSUBSCRIBE = 'DELETE FROM lockstep_outbox_subscription WHERE topic = $1 AND consumer = $2';

/** $1 topic, $2 consumer, $3 limit. */
export const END_STARTS = 'DELETE FROM lockstep_outbox_start WHERE topic = $1 AND consumer = $2 LIMIT $3';

/** $1 routes. What was parked for a topic that has a new consumer is due at once. */
export const WAKE_PARKED = `
UPDATE lockstep_outbox_inflight parked FORCE INDEX (PRIMARY)
SET parked.redeliver_at = LEAST(parked.redeliver_at, UTC_TIMESTAMP(6))
WHERE parked.consumer = '' AND parked.topic IN (SELECT topic FROM ${list('$1', 'route', 'topic')})`;

const isOf = (row: string): string => `${row}.topic IN (SELECT topic FROM ${list('$1', 'route', 'topic')})
  AND ${row}.message_key IS NOT NULL AND ${has(`${row}.headers`, SEQUENCE_HEADER)}`;

const sequenceOf = (row: string): string => `JSON_VALUE(${row}.headers, '$."${SEQUENCE_HEADER}"')`;
// Sixteen digits at most on each side of the dot.
const smallestOf = (row: string): string => `MIN(CONCAT(LPAD(SUBSTRING_INDEX(${sequenceOf(row)}, '.', 1), 16, '0'),
    LPAD(SUBSTRING_INDEX(${sequenceOf(row)}, '.', -1), 16, '0')))`;
const textOf = (padded: string): string =>
  `CONCAT(CAST(LEFT(${padded}, 16) AS UNSIGNED), '.', CAST(RIGHT(${padded}, 16) AS UNSIGNED))`;

/** $1 routes. */
export const HAS_PARKED = `
SELECT 1 AS parked FROM lockstep_outbox_inflight parked FORCE INDEX (PRIMARY)
WHERE parked.consumer = '' AND ${isOf('parked')} LIMIT 1`;

/**
 * $1 routes that are new. Where each begins in the keys of which something is parked: what is parked is routed in no
 * order, and may be later than what is left in the outbox.
 */
export const START_PARKED = `
INSERT INTO lockstep_outbox_start (topic, message_key, consumer, sequence)
SELECT first.topic, first.message_key, route.consumer, ${textOf('first.sequence')}
FROM (
  SELECT unrouted.topic, unrouted.message_key, ${smallestOf('unrouted')} AS sequence FROM (
    SELECT parked.topic, parked.message_key, parked.headers, 1 AS parked FROM lockstep_outbox_inflight parked
    WHERE parked.consumer = '' AND ${isOf('parked')}
    UNION ALL
    SELECT kept.topic, kept.message_key, kept.headers, 0 AS parked FROM lockstep_outbox kept WHERE ${isOf('kept')}
  ) unrouted GROUP BY unrouted.topic, unrouted.message_key HAVING MAX(unrouted.parked) = 1
) first JOIN ${list('$1', 'route', 'topic', 'consumer')} ON route.topic = first.topic
ON DUPLICATE KEY UPDATE sequence = VALUES(sequence)`;

/** $1 keys with consumers. Where each begins, if that is known. */
export const STARTS = `
SELECT start.topic, start.message_key AS \`key\`, start.consumer, start.sequence
FROM ${list('$1', 'one', 'topic', 'key', 'consumer')} STRAIGHT_JOIN lockstep_outbox_start start FORCE INDEX (PRIMARY)
  ON start.topic = one.topic AND start.message_key = one.message_key AND start.consumer = one.consumer`;

const hashOf = (row: string): string => `UNHEX(MD5(CONCAT(${row}.topic, '|', ${row}.message_key)))`;

export const SHARDS = 'SELECT DISTINCT shard FROM lockstep_outbox';

/**
 * $1 shards, $2 position, $3 keys. The smallest sequence of each that is left in the outbox, no further than there. Locks
 * nothing. By a hash of the key, which itself is too long for the index of a list.
 */
export const KEPT = `
SELECT kept.topic, kept.message_key AS \`key\`, ${textOf(smallestOf('kept'))} AS sequence
FROM ${list('$1', 'one', 'shard')} STRAIGHT_JOIN lockstep_outbox kept FORCE INDEX (PRIMARY)
  ON kept.shard = one.shard AND kept.id <= $2
WHERE kept.message_key IS NOT NULL AND ${has('kept.headers', SEQUENCE_HEADER)}
  AND ${hashOf('kept')} IN (SELECT ${hashOf('needed')} FROM ${list('$3', 'needed', 'topic', 'key')})
GROUP BY kept.topic, kept.message_key`;

/** $1 starts, in the one order in which they are locked. What is known already stays. */
export const WRITE_STARTS = `
INSERT INTO lockstep_outbox_start (topic, message_key, consumer, sequence)
SELECT topic, message_key, consumer, sequence FROM ${list('$1', 'one', 'topic', 'key', 'consumer', 'sequence')}
ON DUPLICATE KEY UPDATE lockstep_outbox_start.sequence = lockstep_outbox_start.sequence`;
