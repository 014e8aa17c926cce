import {
  COMPENSATOR_HEADER,
  DURABILITY_HEADER,
  FAILED_TOPIC,
  IN_REPLY_TO_HEADER,
  ORIGIN_HEADER,
} from '../../message-headers.js';
import { has, MESSAGE, MESSAGE_FIELDS, SELECTED, STRICT } from './outbox-columns.js';
import { BEGUN, SEQUENCE, startOf } from './start-statements.js';

const hasConsumer = (row: string): string =>
  `EXISTS (SELECT 1 FROM lockstep_outbox_subscription subscription WHERE subscription.topic = ${row}.topic)`;

// What only moves or removes messages is committed without waiting for the disk: if a crash of the server undoes it, a
// message is given out, or acknowledged, once more, as after any other crash. Dead letters wait.
const UNHURRIED = "set_config('synchronous_commit', 'off', true)";

/** One record: $1 shard, $2 whether it awaits its acknowledgement, then the fields of the message. Planned much faster. */
export const APPEND_ONE = `
INSERT INTO lockstep_outbox (shard, awaits_ack, ${MESSAGE})
VALUES ($1::smallint, $2::boolean, $3::uuid, $4::text, $5::text, $6::text, $7::text)`;

/** $1 records. The position is drawn in the order of the list. */
export const APPEND = `
INSERT INTO lockstep_outbox (shard, awaits_ack, ${MESSAGE})
SELECT shard, awaits_ack, ${MESSAGE}
FROM ROWS FROM (json_to_recordset($1::json) AS (shard smallint, awaits_ack boolean, ${MESSAGE_FIELDS}))
  WITH ORDINALITY AS record (shard, awaits_ack, ${MESSAGE}, place)
ORDER BY place`;

/** $1 records, each with `delay_ms`. They are given out in the order in which they are due. */
export const APPEND_DELAYED = `
INSERT INTO lockstep_outbox_delayed (due_at, shard, awaits_ack, ${MESSAGE})
SELECT clock_timestamp() + delay_ms * interval '1 millisecond', shard, awaits_ack, ${MESSAGE}
FROM json_to_recordset($1::json) AS record (delay_ms float8, shard smallint, awaits_ack boolean, ${MESSAGE_FIELDS})`;

/** $1 keys with how many sequences each needs. Locked in one order, so that two calls cannot wait for each other. */
export const DRAW = `
INSERT INTO lockstep_outbox_sequence AS counter (topic, key, generation, n, touched_at)
SELECT topic, key, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, wanted, clock_timestamp()
FROM json_to_recordset($1::json) AS draw (topic text, key text, wanted bigint)
ORDER BY topic, key
ON CONFLICT (topic, key) DO UPDATE SET n = counter.n + excluded.n, touched_at = excluded.touched_at
RETURNING topic, key, generation::text, n::text`;

/** $1 limit. From the time at which it was due, a message counts as published: its delay is no delay of the relay. */
export const PROMOTE = `
WITH due AS (
  DELETE FROM lockstep_outbox_delayed WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lockstep_outbox_delayed WHERE due_at <= now()
    ORDER BY due_at, message_id LIMIT $1 FOR UPDATE SKIP LOCKED
  )) RETURNING *
)
INSERT INTO lockstep_outbox (shard, awaits_ack, ${MESSAGE}, published_at)
SELECT shard, awaits_ack, ${MESSAGE}, due_at FROM due ORDER BY due_at, message_id`;

export const NEXT_DUE = `
SELECT ceil(extract(epoch FROM due_at - clock_timestamp()) * 1000)::text AS "inMs"
FROM lockstep_outbox_delayed ORDER BY due_at LIMIT 1`;

/**
 * $1 first shard, $2 last shard, $3 limit, $4 ms until overdue, $5 position in the first shard behind which to begin: the
 * key is entered there, and no dead entry before it is read. What another claim moved meanwhile is left out.
 */
export const CLAIM = `
WITH head AS MATERIALIZED (
  SELECT ctid AS tuple, * FROM lockstep_outbox WHERE (shard, id) > ($1::smallint, $5::bigint) AND shard <= $2
  ORDER BY shard, id LIMIT $3 + 0 * length(${UNHURRIED})
), routed AS MATERIALIZED (
  SELECT head.*, coalesce(subscription.consumer, '') AS consumer,
    head.awaits_ack OR subscription.consumer IS NULL AS moves, subscription.since,
    CASE WHEN head.key IS NOT NULL AND head.${STRICT} THEN ${SEQUENCE} END AS sequence
  FROM head LEFT JOIN lockstep_outbox_subscription subscription ON subscription.topic = head.topic
), ${BEGUN}, moved AS (
  DELETE FROM lockstep_outbox WHERE ctid = ANY (ARRAY(SELECT tuple FROM routed WHERE moves)) RETURNING shard, id
), flying AS (
  INSERT INTO lockstep_outbox_inflight (consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at)
  SELECT consumer, ${MESSAGE}, awaits_ack, published_at, 1, now() + $4 * interval '1 millisecond'
  FROM routed JOIN moved USING (shard, id)
  ON CONFLICT (consumer, message_id) DO NOTHING
)
SELECT ${SELECTED.replace('topic, key', 'routed.topic, routed.key')}, routed.consumer, awaits_ack AS "awaitsAck",
  1 AS deliveries, shard, routed.id::text AS position, moves,
  CASE WHEN routed.sequence IS NOT NULL THEN coalesce(${startOf('routed')}, begun.sequence) END AS start,
  floor(extract(epoch FROM statement_timestamp()) * 1000)::text AS "claimedAt"
FROM routed LEFT JOIN begun
  ON begun.topic = routed.topic AND begun.key = routed.key AND begun.consumer = routed.consumer
WHERE NOT moves OR EXISTS (SELECT 1 FROM moved WHERE moved.shard = routed.shard AND moved.id = routed.id)
ORDER BY shard, routed.id, routed.consumer`;

/**
 * $1 limit. Parked messages whose topic has consumers by now are in flight for each of them, ahead of all that is due:
 * behind the other parked ones they would wait for those to be mentioned. Looks at as many rows as are given out.
 */
export const ROUTE_PARKED = `
WITH head AS MATERIALIZED (
  SELECT consumer, message_id FROM lockstep_outbox_inflight
  WHERE redeliver_at <= now() ORDER BY redeliver_at LIMIT $1
), due AS MATERIALIZED (
  SELECT message_id FROM lockstep_outbox_inflight parked
  WHERE consumer = '' AND message_id IN (SELECT message_id FROM head WHERE consumer = '') AND ${hasConsumer('parked')}
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM lockstep_outbox_inflight parked USING due
  WHERE parked.consumer = '' AND parked.message_id = due.message_id
  RETURNING parked.*
)
INSERT INTO lockstep_outbox_inflight (consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at)
SELECT subscription.consumer, ${MESSAGE.replace('topic', 'gone.topic')}, awaits_ack, published_at, 0, 'epoch'
FROM gone JOIN lockstep_outbox_subscription subscription ON subscription.topic = gone.topic
ON CONFLICT (consumer, message_id) DO NOTHING`;

/** $1 limit, $2 first pause in ms, $3 longest pause in ms. What is still to be routed is not put off. */
export const OVERDUE = `
WITH due AS MATERIALIZED (
  SELECT consumer, message_id FROM lockstep_outbox_inflight
  WHERE redeliver_at <= now() ORDER BY redeliver_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE lockstep_outbox_inflight again
SET deliveries = deliveries + 1,
  redeliver_at = now() + least($2 * power(2, least(deliveries, 30)), $3) * interval '1 millisecond'
FROM due WHERE again.consumer = due.consumer AND again.message_id = due.message_id
  AND (again.consumer <> '' OR NOT ${hasConsumer('again')})
RETURNING ${SELECTED.replace('message_id', 'again.message_id')}, again.consumer, awaits_ack AS "awaitsAck", deliveries,
  ${startOf('again')} AS start`;

/** $1 places. */
export const ACCEPTED = `
DELETE FROM lockstep_outbox accepted
USING json_to_recordset($1::json) AS place (shard smallint, position bigint), (SELECT ${UNHURRIED}) unhurried
WHERE accepted.shard = place.shard AND accepted.id = place.position`;

/** $1 places, each with a consumer. */
export const DEFERRED = `
WITH place AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json) AS place (shard smallint, position bigint, consumer text)
), gone AS (
  DELETE FROM lockstep_outbox deferred USING (SELECT DISTINCT shard, position FROM place) one
  WHERE deferred.shard = one.shard AND deferred.id = one.position
  RETURNING deferred.*
)
INSERT INTO lockstep_outbox_inflight (consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at)
SELECT place.consumer, ${MESSAGE}, awaits_ack, published_at, 1, now()
FROM gone JOIN place ON place.shard = gone.shard AND place.position = gone.id
ON CONFLICT (consumer, message_id) DO NOTHING`;

/** $1 acknowledgements. */
export const ACKNOWLEDGED = `
DELETE FROM lockstep_outbox_inflight acknowledged
USING json_to_recordset($1::json) AS ack (consumer text, message_id uuid), (SELECT ${UNHURRIED}) unhurried
WHERE acknowledged.consumer = ack.consumer AND acknowledged.message_id = ack.message_id`;

/** $1 those who wait, each with `for_ms`. */
export const WAITING = `
UPDATE lockstep_outbox_inflight again
SET redeliver_at = greatest(redeliver_at, now() + for_ms * interval '1 millisecond')
FROM json_to_recordset($1::json) AS wait (consumer text, message_id uuid, for_ms float8),
  (SELECT ${UNHURRIED}) unhurried
WHERE again.consumer = wait.consumer AND again.message_id = wait.message_id`;

/**
 * $1 consumer, $2 message id, $3 error, $4 the message where nothing may be in flight, or null, $5 id of the notice to
 * its compensator.
 */
export const BURY = `
WITH gone AS (
  DELETE FROM lockstep_outbox_inflight WHERE consumer = $1 AND message_id = $2::uuid
  RETURNING ${MESSAGE}, published_at
), given AS (
  SELECT ${MESSAGE}, to_timestamp(published_at / 1000) AS published_at
  FROM json_to_recordset($4::json) AS message (${MESSAGE_FIELDS}, published_at float8)
  WHERE NOT EXISTS (SELECT 1 FROM gone)
), buried AS (
  INSERT INTO lockstep_outbox_dead (consumer, error, ${MESSAGE}, published_at)
  SELECT $1, $3, ${MESSAGE}, published_at FROM (SELECT * FROM gone UNION ALL SELECT * FROM given) last
  ON CONFLICT (message_id, consumer) DO NOTHING
  RETURNING ${MESSAGE}
)
INSERT INTO lockstep_outbox_inflight (consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at)
SELECT headers::json ->> '${COMPENSATOR_HEADER}', $5::uuid, '${FAILED_TOPIC}', key,
  json_build_object('messageId', message_id, 'topic', topic, 'key', key, 'consumer', $1::text, 'error', $3::text,
    'payload', payload)::text,
  json_build_object('${ORIGIN_HEADER}', headers::json ->> '${ORIGIN_HEADER}', '${DURABILITY_HEADER}', 'until-ack',
    '${IN_REPLY_TO_HEADER}', message_id)::text,
  true, clock_timestamp(), 0, now()
FROM buried WHERE ${has(COMPENSATOR_HEADER)}
ON CONFLICT (consumer, message_id) DO NOTHING`;
