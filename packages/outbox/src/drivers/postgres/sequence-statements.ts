import { STRICT } from './outbox-columns.js';

/**
 * The backlog has no index on keys, and may have been empty when it was last analyzed: the planner would then read all of
 * it for each key. Without nested loops it is read once. For the transaction.
 */
export const READ_ONCE = "SELECT set_config('enable_nestloop', 'off', true)";
/** The opposite, for a short list: each row of it by the primary key. */
export const READ_BY_KEY = `SELECT set_config('enable_nestloop', 'on', true),
  set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
  set_config('enable_seqscan', 'off', true)`;

export const ROUTES = 'SELECT topic, consumer FROM lockstep_outbox_subscription';

const used = (table: string, consumer: string): string =>
  `SELECT topic, key, ${consumer} AS consumer FROM ${table} JOIN idle USING (topic, key)
  WHERE ${STRICT} AND EXISTS (SELECT 1 FROM idle)`;

/**
 * $1 age in ms, $2 topic and $3 key after which to look, $4 how many. Locks nothing. By the primary key, because an index
 * on the time would be written with every draw.
 */
export const LOOK_AT_KEYS = `
WITH looked AS MATERIALIZED (
  SELECT topic, key, generation, n, touched_at < statement_timestamp() - $1 * interval '1 millisecond' AS is_idle
  FROM lockstep_outbox_sequence WHERE (topic, key) > ($2::text, $3::text) ORDER BY topic, key LIMIT $4
), idle AS MATERIALIZED (
  SELECT topic, key FROM looked WHERE is_idle
), used AS (
  ${used('lockstep_outbox', "''")}
  UNION ${used('lockstep_outbox_inflight', 'consumer')}
  UNION ${used('lockstep_outbox_dead', 'consumer')}
), waiting AS (
  SELECT topic, key, json_agg(consumer)::text AS consumers FROM used GROUP BY topic, key
)
SELECT topic, key, generation::text, n::text, is_idle AS "isIdle", waiting.consumers AS waiting,
  CASE WHEN waiting.consumers IS NOT NULL THEN (
    SELECT json_agg(start.consumer)::text FROM lockstep_outbox_start start
    WHERE start.topic = looked.topic AND start.key = looked.key AND start.sequence = generation || '.' || n + 1
  ) END AS told
FROM looked LEFT JOIN waiting USING (topic, key) ORDER BY topic, key`;

/**
 * $1 keys, each with its counter, and with the consumers that are told to begin with the next message, or null where the
 * counter is forgotten. From those that are found as they were, nobody has drawn since, and nobody can until the end.
 */
export const STEP_KEYS = `
WITH unused AS MATERIALIZED (
  SELECT one.* FROM json_to_recordset($1::json) AS one (topic text, key text, generation bigint, n bigint, told json)
    JOIN lockstep_outbox_sequence counter USING (topic, key)
  WHERE counter.generation = one.generation AND counter.n = one.n
  FOR UPDATE OF counter SKIP LOCKED
), starts AS (
  DELETE FROM lockstep_outbox_start start USING unused
  WHERE start.topic = unused.topic AND start.key = unused.key AND unused.told IS NULL
), counters AS (
  DELETE FROM lockstep_outbox_sequence counter USING unused
  WHERE counter.topic = unused.topic AND counter.key = unused.key AND unused.told IS NULL
), told AS (
  INSERT INTO lockstep_outbox_start (topic, key, consumer, sequence)
  SELECT topic, key, consumer, generation || '.' || n + 1
  FROM unused CROSS JOIN LATERAL json_array_elements_text(told) AS one (consumer)
  WHERE told IS NOT NULL ORDER BY topic, key, consumer
  ON CONFLICT (topic, key, consumer) DO UPDATE SET sequence = excluded.sequence
)
SELECT count(*)::int AS keys FROM unused`;
