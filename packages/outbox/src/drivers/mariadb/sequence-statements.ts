import { SEQUENCE_HEADER } from '../../message-headers.js';
import { has, list } from './outbox-columns.js';

/** $1 keys with how many sequences each needs, in the one order in which they are locked. */
export const DRAW = `
INSERT INTO lockstep_outbox_sequence (topic, message_key, generation, n, touched_at)
SELECT topic, message_key, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000, wanted, UTC_TIMESTAMP(6)
FROM ${list('$1', 'draw', 'topic', 'key', 'wanted')}
ON DUPLICATE KEY UPDATE n = lockstep_outbox_sequence.n + VALUES(n), touched_at = VALUES(touched_at)
RETURNING topic, message_key AS \`key\`, CAST(generation AS CHAR) AS generation, CAST(n AS CHAR) AS n`;

/** $1 keys with consumers. Where each begins, if that is known. */
export const STARTS = `
SELECT start.topic, start.message_key AS \`key\`, start.consumer, start.sequence
FROM ${list('$1', 'one', 'topic', 'key', 'consumer')} STRAIGHT_JOIN lockstep_outbox_start start FORCE INDEX (PRIMARY)
  ON start.topic = one.topic AND start.message_key = one.message_key AND start.consumer = one.consumer`;

/** $1 routes. */
export const MISSING_ROUTES = `
SELECT topic, consumer FROM ${list('$1', 'route', 'topic', 'consumer')}
WHERE NOT EXISTS (SELECT 1 FROM lockstep_outbox_subscription known
  WHERE known.topic = route.topic AND known.consumer = route.consumer)`;

/** $1 routes. */
export const SUBSCRIBE = `
INSERT INTO lockstep_outbox_subscription (topic, consumer)
SELECT DISTINCT topic, consumer FROM ${list('$1', 'route', 'topic', 'consumer')}
ON DUPLICATE KEY UPDATE lockstep_outbox_subscription.consumer = lockstep_outbox_subscription.consumer`;

/** $1 routes. What was parked for a topic that has a new consumer is due at once. */
export const WAKE_PARKED = `
UPDATE lockstep_outbox_inflight parked FORCE INDEX (PRIMARY)
SET parked.redeliver_at = LEAST(parked.redeliver_at, UTC_TIMESTAMP(6))
WHERE parked.consumer = '' AND parked.topic IN (SELECT topic FROM ${list('$1', 'route', 'topic')})`;

const SEQUENCE = `JSON_VALUE(headers, '$."${SEQUENCE_HEADER}"')`;
// Sixteen digits at most on each side of the dot.
const SORTABLE = `CONCAT(LPAD(SUBSTRING_INDEX(${SEQUENCE}, '.', 1), 16, '0'),
    LPAD(SUBSTRING_INDEX(${SEQUENCE}, '.', -1), 16, '0'))`;
const READABLE = `CONCAT(CAST(LEFT(first.sequence, 16) AS UNSIGNED), '.', CAST(RIGHT(first.sequence, 16) AS UNSIGNED))`;
const OF_ROUTES = `topic IN (SELECT topic FROM ${list('$1', 'route', 'topic')})
      AND message_key IS NOT NULL AND ${has('headers', SEQUENCE_HEADER)}`;

/** $1 routes that are new. Where each begins in the keys that exist: with the first message that is not routed yet. */
export const SET_STARTS = `
INSERT INTO lockstep_outbox_start (topic, message_key, consumer, sequence)
SELECT counter.topic, counter.message_key, route.consumer,
  COALESCE(${READABLE}, CONCAT(counter.generation, '.', counter.n + 1))
FROM ${list('$1', 'route', 'topic', 'consumer')}
JOIN lockstep_outbox_sequence counter ON counter.topic = route.topic
LEFT JOIN (
  SELECT topic, message_key, MIN(sequence) AS sequence FROM (
    SELECT topic, message_key, ${SORTABLE} AS sequence FROM lockstep_outbox WHERE ${OF_ROUTES}
    UNION ALL
    SELECT topic, message_key, ${SORTABLE} AS sequence FROM lockstep_outbox_inflight
    WHERE consumer = '' AND ${OF_ROUTES}
  ) unrouted GROUP BY topic, message_key
) first ON first.topic = counter.topic AND first.message_key = counter.message_key
ON DUPLICATE KEY UPDATE sequence = VALUES(sequence)`;

const UNUSED = ['', '_inflight', '_dead']
  .map(
    (table) => `NOT EXISTS (SELECT 1 FROM lockstep_outbox${table} used
    WHERE used.topic = counter.topic AND used.message_key = counter.message_key)`,
  )
  .join(' AND ');

/** $1 age in ms. Locks nothing. */
export const FIND_UNUSED = `
SELECT counter.topic, counter.message_key AS \`key\`, CAST(counter.touched_at AS CHAR) AS touched_at
FROM lockstep_outbox_sequence counter
WHERE counter.touched_at < UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND AND ${UNUSED} LIMIT 1000`;

/** $1 keys. Those of them from which nobody has drawn since, and nobody is drawing. */
export const LOCK_UNUSED = `
SELECT counter.topic, counter.message_key AS \`key\`
FROM ${list('$1', 'one', 'topic', 'key', 'touched_at')}
STRAIGHT_JOIN lockstep_outbox_sequence counter FORCE INDEX (PRIMARY)
  ON counter.topic = one.topic AND counter.message_key = one.message_key
WHERE counter.touched_at = one.touched_at FOR UPDATE SKIP LOCKED`;

const forget = (table: string): string => `
DELETE gone FROM ${list('$1', 'one', 'topic', 'key')} STRAIGHT_JOIN ${table} gone FORCE INDEX (PRIMARY)
  ON gone.topic = one.topic AND gone.message_key = one.message_key`;

/** $1 keys. */
export const FORGET_STARTS = forget('lockstep_outbox_start');
/** $1 keys. */
export const FORGET_COUNTERS = forget('lockstep_outbox_sequence');
