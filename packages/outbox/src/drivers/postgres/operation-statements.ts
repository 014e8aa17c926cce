import { AWAITED_AGAIN, SEQUENCE_HEADER, SKIP_HEADER } from '../../message-headers.js';
import { MESSAGE, SELECTED, STRICT } from './outbox-columns.js';

/**
 * $1 shards. The head of each index range is its oldest: nothing is read but heads. From one consumer that has something in
 * flight to the next, subscribed or not, is one step along the index.
 */
export const FACTS = `
WITH RECURSIVE flier (consumer) AS (
  SELECT min(consumer) FROM lockstep_outbox_inflight
  UNION ALL
  SELECT (SELECT min(row.consumer) FROM lockstep_outbox_inflight row WHERE row.consumer > flier.consumer)
  FROM flier WHERE flier.consumer IS NOT NULL
), capped (pending, in_flight, delayed, dead) AS (
  SELECT (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox LIMIT 10000) rows),
    (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox_inflight LIMIT 10000) rows),
    (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox_delayed LIMIT 10000) rows),
    (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox_dead LIMIT 10000) rows)
), heads (kind, published_at) AS (
  SELECT 'pending', head.published_at FROM generate_series(0, $1 - 1) one (shard) CROSS JOIN LATERAL (
    SELECT published_at FROM lockstep_outbox row WHERE row.shard = one.shard ORDER BY id LIMIT 1) head
  UNION ALL
  SELECT CASE one.consumer WHEN '' THEN 'parked' ELSE 'flying' END, head.published_at
  FROM flier one CROSS JOIN LATERAL (
    SELECT published_at FROM lockstep_outbox_inflight row
    WHERE row.consumer = one.consumer ORDER BY message_id LIMIT 1) head
), ages AS (
  SELECT kind, floor(max(extract(epoch FROM clock_timestamp() - published_at)) * 1000) AS ms FROM heads GROUP BY kind
)
SELECT coalesce((SELECT ms FROM ages WHERE kind = 'pending'), 0)::text AS "oldestPendingMs",
  coalesce((SELECT ms FROM ages WHERE kind = 'flying'), 0)::text AS "oldestInFlightMs",
  coalesce((SELECT ms FROM ages WHERE kind = 'parked'), 0)::text AS "oldestParkedMs",
  coalesce((SELECT greatest(floor(extract(epoch FROM clock_timestamp() - due_at) * 1000), 0)
    FROM lockstep_outbox_delayed ORDER BY due_at LIMIT 1), 0)::text AS "oldestDueMs",
  pending::text, in_flight::text AS "inFlight", delayed::text, dead::text
FROM capped`;

/** $1 consumer or null, $2 and $3 id and consumer of the last one seen or null, $4 limit, $5 topic or null, $6 strict only. */
export const DEAD_LETTERS = `
SELECT ${SELECTED}, consumer, error, floor(extract(epoch FROM failed_at) * 1000)::text AS "failedAt"
FROM lockstep_outbox_dead
WHERE ($1::text IS NULL OR consumer = $1) AND ($5::text IS NULL OR topic = $5) AND (NOT $6::boolean OR ${STRICT})
  AND ($2::uuid IS NULL OR (message_id, consumer) > ($2::uuid, $3::text))
ORDER BY message_id, consumer LIMIT $4`;

/** Whether the letter holds up its key: nothing waits for a turn that nobody can read, or at a consumer that was retired. */
const holdsUp = (row: string): string => `${row}.key IS NOT NULL
  AND ${row}.headers ~ '"${SEQUENCE_HEADER}": ?"[0-9]+[.][0-9]+"' AND EXISTS (SELECT 1 FROM lockstep_outbox_subscription known
  WHERE known.topic = ${row}.topic AND known.consumer = ${row}.consumer)`;

// What a letter is to be skipped by must also be on what is in flight beside it, and travel at once.
const TO_BE_SKIPPED = `UPDATE SET headers = excluded.headers, awaits_ack = true, deliveries = 0,
    redeliver_at = excluded.redeliver_at`;

/**
 * @param which of the named letters leave
 * @param added headers as they fly again
 * @param beside what becomes of those that are in flight already
 * @param flies which of them fly at all
 * @returns with $1 ids
 */
function flyAgain(which: string, added: Readonly<Record<string, string>>, beside: string, flies = 'true'): string {
  const headers = `(headers::jsonb || '${JSON.stringify(added)}')::text`;
  return `
WITH gone AS (
  DELETE FROM lockstep_outbox_dead dead USING json_to_recordset($1::json) AS one (consumer text, message_id uuid)
  WHERE dead.message_id = one.message_id AND dead.consumer = one.consumer AND ${which}
  RETURNING dead.*
), flying AS (
  INSERT INTO lockstep_outbox_inflight (consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at)
  SELECT consumer, ${MESSAGE.replace('headers', headers)}, true, published_at, 0, now() FROM gone
  WHERE ${flies}
  ON CONFLICT (consumer, message_id) DO ${beside}
)
SELECT count(*)::int AS letters FROM gone`;
}

export const REPLAY = flyAgain('true', AWAITED_AGAIN, 'NOTHING');
const SKIPPED = { ...AWAITED_AGAIN, [SKIP_HEADER]: '1' };
export const SKIP = flyAgain(STRICT, SKIPPED, TO_BE_SKIPPED);
export const DISCARD = flyAgain('true', SKIPPED, TO_BE_SKIPPED, holdsUp('gone'));

/** $1 age in ms, $2 the smallest UUIDv7 of that time: a message dies after it was made, so the key bounds the search. */
export const PURGE = `
DELETE FROM lockstep_outbox_dead dead USING (
  SELECT message_id, consumer FROM lockstep_outbox_dead letter
  WHERE message_id < $2::uuid AND failed_at < now() - $1 * interval '1 millisecond' AND NOT (${holdsUp('letter')}) LIMIT 1000
) old
WHERE dead.message_id = old.message_id AND dead.consumer = old.consumer`;

/** $1 topic, $2 consumer. Counts what is no longer in flight: a page of which all are dead already is not the last. */
export const RETIRE = `
WITH gone AS (
  DELETE FROM lockstep_outbox_inflight row USING (
    SELECT message_id FROM lockstep_outbox_inflight WHERE consumer = $2 AND topic = $1 ORDER BY message_id LIMIT 1000
  ) old
  WHERE row.consumer = $2 AND row.message_id = old.message_id
  RETURNING row.*
), buried AS (
  INSERT INTO lockstep_outbox_dead (consumer, error, ${MESSAGE}, published_at)
  SELECT consumer, 'the subscription was retired', ${MESSAGE}, published_at FROM gone
  ON CONFLICT (message_id, consumer) DO NOTHING
)
SELECT count(*)::int AS retired FROM gone`;
