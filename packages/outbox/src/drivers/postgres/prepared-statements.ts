import type { PreparedStatements } from '../sql/prepared-statements.js';

/** For how long a check waits for a transaction that has joined, before it says that it does not know. */
const LOCK_TIMEOUT = '100ms';

const SELECTED = `id::text AS id, state, topic, key, payload, headers,
  floor(extract(epoch FROM prepared_at) * 1000)::text AS "preparedAt", shard, awaits_ack::int::text AS "awaitsAck",
  delay_ms::text AS "delayMs", checker, checks, max_checks AS "maxChecks",
  (clock_timestamp() < old_at)::int::text AS young`;

// Index conditions use statement_timestamp(), by which an index can be searched, and which is never later than now.
export const POSTGRES_PREPARED: PreparedStatements = {
  prepare: `
INSERT INTO lockstep_outbox_prepared (id, state, shard, awaits_ack, delay_ms, topic, key, payload, headers, checker,
  max_checks, check_every_ms, prepared_at, next_check_at, deadline_at, old_at)
SELECT $1::uuid, 'prepared', $2::smallint, $3::boolean, $4::bigint, $5, $6, $7, $8, $9, $12::int, $11::bigint, clock.now,
  clock.now + $10::float8 * interval '1 millisecond', clock.now + $13::float8 * interval '1 millisecond',
  clock.now + $14::float8 * interval '1 millisecond'
FROM (SELECT clock_timestamp() AS now) clock
RETURNING floor(extract(epoch FROM deadline_at) * 1000)::text AS deadline`,

  decide: `
UPDATE lockstep_outbox_prepared SET state = $3, decided_at = clock_timestamp()
WHERE id = $1::uuid AND state = $2`,

  find: `SELECT ${SELECTED} FROM lockstep_outbox_prepared WHERE id = $1::uuid`,

  join: `
INSERT INTO lockstep_outbox_decision (gid, decision)
SELECT $1::uuid, 'commit' WHERE clock_timestamp() < to_timestamp($2::float8 / 1000)
ON CONFLICT (gid) DO NOTHING`,

  // The setting holds for this statement alone, which is its own transaction.
  refuse: `
INSERT INTO lockstep_outbox_decision (gid, decision)
SELECT id, 'rollback' FROM lockstep_outbox_prepared
WHERE set_config('lock_timeout', '${LOCK_TIMEOUT}', true) IS NOT NULL
  AND id = $1::uuid AND state IN ('prepared', 'undecided')
ON CONFLICT (gid) DO NOTHING`,

  standing: 'SELECT decision FROM lockstep_outbox_decision WHERE gid = $1::uuid',

  // From one checker to the next by the index, so that it costs as much as there are checkers.
  waiting: `
WITH RECURSIVE oldest AS (
  (SELECT checker, next_check_at FROM lockstep_outbox_prepared WHERE state = 'prepared'
    ORDER BY checker, next_check_at LIMIT 1)
  UNION ALL
  SELECT other.checker, other.next_check_at FROM oldest CROSS JOIN LATERAL (
    SELECT checker, next_check_at FROM lockstep_outbox_prepared WHERE state = 'prepared' AND checker > oldest.checker
    ORDER BY checker, next_check_at LIMIT 1) other)
SELECT checker, floor(extract(epoch FROM next_check_at) * 1000)::text AS "dueSince" FROM oldest
WHERE next_check_at <= clock_timestamp()`,

  lockDue: `
SELECT ${SELECTED} FROM lockstep_outbox_prepared
WHERE state = 'prepared' AND checker = $1 AND next_check_at <= statement_timestamp()
ORDER BY next_check_at LIMIT $2 FOR UPDATE SKIP LOCKED`,

  countCheck: `
UPDATE lockstep_outbox_prepared
SET checks = checks + 1, next_check_at = clock_timestamp() + check_every_ms * interval '1 millisecond'
WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json) AS listed (value))`,

  park: `UPDATE lockstep_outbox_prepared SET state = 'undecided' WHERE id = $1::uuid AND state = 'prepared'`,

  resume: `
UPDATE lockstep_outbox_prepared SET state = 'prepared', checks = 0, next_check_at = clock_timestamp()
WHERE id = $1::uuid AND state = 'undecided'`,

  undecided: `
SELECT ${SELECTED} FROM lockstep_outbox_prepared WHERE state = 'undecided' AND id > $1::uuid
ORDER BY lockstep_outbox_prepared.id LIMIT $2`,

  facts: `
SELECT (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox_prepared WHERE state = 'prepared' LIMIT 10000) counted)::text
    AS prepared,
  (SELECT count(*) FROM (SELECT 1 FROM lockstep_outbox_prepared WHERE state = 'undecided' LIMIT 10000) counted)::text
    AS undecided,
  floor(coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(prepared_at) FROM (
    SELECT prepared_at FROM lockstep_outbox_prepared WHERE state = 'prepared' LIMIT 10000) counted)), 0) * 1000)::text
    AS "oldestPreparedMs"`,

  purgeMessages: `
DELETE FROM lockstep_outbox_prepared WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM lockstep_outbox_prepared
  WHERE decided_at < statement_timestamp() - $1::float8 * interval '1 millisecond'
    AND deadline_at < statement_timestamp()
  ORDER BY decided_at LIMIT 1000 FOR UPDATE SKIP LOCKED))`,

  purgeTombstones: `
DELETE FROM lockstep_outbox_decision WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM lockstep_outbox_decision tombstone
  WHERE decided_at < statement_timestamp() - $1::float8 * interval '1 millisecond'
    AND NOT EXISTS (SELECT 1 FROM lockstep_outbox_prepared half WHERE half.id = tombstone.gid)
  ORDER BY decided_at LIMIT 1000 FOR UPDATE SKIP LOCKED))`,
};
