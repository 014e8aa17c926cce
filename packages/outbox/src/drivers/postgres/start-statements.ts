import { SEQUENCE_HEADER } from '../../message-headers.js';
import { STRICT } from './outbox-columns.js';

/** The sequence of a strict row, as numbers that compare in its order. */
export const SEQUENCE = `string_to_array(headers::json ->> '${SEQUENCE_HEADER}', '.')::bigint[]`;

/** One row after the other by the primary key: a join may read the whole table, which grows with the keys. */
export const startOf = (row: string): string => `(SELECT start.sequence FROM lockstep_outbox_start start
  WHERE start.topic = ${row}.topic AND start.key = ${row}.key AND start.consumer = ${row}.consumer)`;

/**
 * Where the consumers of `routed` rows begin in keys that are older than their subscriptions: with the smallest sequence
 * that is left in the outbox, of which nobody was given one before. Written in the step that routes the first one, since a
 * subscription that wrote a row for every key would stop all claims meanwhile. Why that is the first one they are given:
 *
 * - A claim sees a subscription or it does not, and none is under way while a subscription is made. So what is left in the
 *   outbox was routed by no claim without the consumer; what is parked got its start when he subscribed.
 * - Whoever draws a sequence waits for the end of whoever drew the one before. So a snapshot that has a row has all earlier
 *   ones of its key, in the outbox or gone, and they have smaller ids: an earlier one can only be left where this claim
 *   does not look, in another shard (their number was changed) or before the place where it begins.
 * - A claim at the same time that removes the earlier one finds the same: what it removes is still here for this one.
 * - A key whose generation is later than the subscription had no message before it: its consumer is given all.
 *
 * Where no strict row of an older key is the first one, nothing of it is run. The search is a function because the planner
 * would take the worst for likely, and compile the whole claim for seconds.
 */
export const BEGUN = `fresh AS MATERIALIZED (
  SELECT topic, key, consumer, max(id) AS id FROM routed
  WHERE sequence[1] <= since AND ${startOf('routed')} IS NULL GROUP BY topic, key, consumer
), begun AS MATERIALIZED (
  SELECT fresh.topic, fresh.key, fresh.consumer, array_to_string(min(${SEQUENCE}), '.') AS sequence
  FROM lockstep_outbox_strict_until((SELECT max(id) FROM fresh)) kept
    JOIN fresh ON fresh.topic = kept.topic AND fresh.key = kept.key
  WHERE EXISTS (SELECT 1 FROM fresh)
  GROUP BY fresh.topic, fresh.key, fresh.consumer
), starts AS (
  INSERT INTO lockstep_outbox_start (topic, key, consumer, sequence)
  SELECT topic, key, consumer, sequence FROM begun ORDER BY topic, key, consumer
  ON CONFLICT (topic, key, consumer) DO NOTHING
)`;

/** $1 routes. */
export const MISSING_ROUTES = `
SELECT topic, consumer FROM json_to_recordset($1::json) AS route (topic text, consumer text)
WHERE NOT EXISTS (SELECT 1 FROM lockstep_outbox_subscription known
  WHERE known.topic = route.topic AND known.consumer = route.consumer)`;

/** A claim sees all subscriptions of a call or none, and no claim is between its routes and what they are told. */
export const LOCK_SUBSCRIPTIONS = 'LOCK TABLE lockstep_outbox_subscription IN ACCESS EXCLUSIVE MODE';

/** $1 routes. */
export const SUBSCRIBE = `
INSERT INTO lockstep_outbox_subscription (topic, consumer, since)
SELECT DISTINCT topic, consumer, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM json_to_recordset($1::json) AS route (topic text, consumer text)
ON CONFLICT (topic, consumer) DO NOTHING
RETURNING topic, consumer`;

/**
 * $1 routes that are new. Where each begins in the keys of which something is parked: what is parked is routed in no
 * order, and may be later than what is left in the outbox.
 */
export const START_PARKED = `
WITH route AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json) AS route (topic text, consumer text)
), parked AS MATERIALIZED (
  SELECT topic, key, min(${SEQUENCE}) AS sequence FROM lockstep_outbox_inflight
  WHERE consumer = '' AND topic IN (SELECT topic FROM route) AND key IS NOT NULL AND ${STRICT} GROUP BY topic, key
), kept AS (
  SELECT topic, key, ${SEQUENCE} AS sequence FROM lockstep_outbox
  WHERE topic IN (SELECT topic FROM route) AND key IS NOT NULL AND ${STRICT} AND EXISTS (SELECT 1 FROM parked)
), first AS (
  SELECT topic, key, least(parked.sequence, min(kept.sequence)) AS sequence
  FROM parked LEFT JOIN kept USING (topic, key) GROUP BY topic, key, parked.sequence
)
INSERT INTO lockstep_outbox_start (topic, key, consumer, sequence)
SELECT first.topic, first.key, route.consumer, array_to_string(first.sequence, '.')
FROM first JOIN route ON route.topic = first.topic
ON CONFLICT (topic, key, consumer) DO UPDATE SET sequence = excluded.sequence`;

/** $1 routes. What was parked for them is due at once. */
export const WAKE_PARKED = `
UPDATE lockstep_outbox_inflight SET redeliver_at = now()
WHERE consumer = '' AND redeliver_at > now()
  AND topic IN (SELECT topic FROM json_to_recordset($1::json) AS route (topic text))`;

/**
 * $1 routes, $2 limit. The starts of those that are no subscriptions: of one that begins anew they would not be true. How
 * many were found: of those that another one removes at the same time, it is not known yet whether they are gone.
 */
export const END_STARTS = `
WITH found AS MATERIALIZED (
  SELECT start.ctid AS place FROM json_to_recordset($1::json) AS route (topic text, consumer text)
    JOIN lockstep_outbox_start start ON start.topic = route.topic AND start.consumer = route.consumer
  WHERE NOT EXISTS (SELECT 1 FROM lockstep_outbox_subscription known
    WHERE known.topic = route.topic AND known.consumer = route.consumer)
  LIMIT $2
), gone AS (
  DELETE FROM lockstep_outbox_start WHERE ctid = ANY (ARRAY(SELECT place FROM found))
)
SELECT count(*)::int AS found FROM found`;

/** $1 topic, $2 consumer. */
export const UNSUBSCRIBE = 'DELETE FROM lockstep_outbox_subscription WHERE topic = $1 AND consumer = $2';
