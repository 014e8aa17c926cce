// One step each, and one round trip. What two of them compete for is decided by the lock of the row: a condition is
// looked at again after a wait. statement_timestamp() where an index is searched, which a volatile clock could not be.

const IS_KEPT = '(r.expires_at IS NULL OR r.expires_at > clock_timestamp())';
/** As it stands in the index. */
const DUE = 'coalesce(expires_at, lease_until, uncertain_since)';
const after = (parameter: string): string => `clock_timestamp() + ${parameter}::float8 * interval '1 millisecond'`;

export const CLOCK = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::text AS clock_ms';

export const BEGIN = `SELECT outcome, clock_ms, left_ms, fence, response, steps
  FROM lockstep_idempotency_begin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`;

export const SETTLE = 'SELECT lockstep_idempotency_settle($1, $2, $3, $4, $5) AS settled';

// Passes over rows that somebody has in hand, so that one of them holds no other lease up; such a row is renewed by the
// next beat.
export const RENEW = `WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[]) WITH ORDINALITY
      AS item (id, owner, lease_ms, retention_ms, place)
  ), held AS (
    SELECT r.id, asked.place, clock_timestamp() + asked.lease_ms * interval '1 millisecond' AS lease_until,
      asked.retention_ms * interval '1 millisecond' AS retention
    FROM asked JOIN lockstep_idempotency r ON r.id = asked.id AND r.owner = asked.owner
    WHERE r.state IN ('P', 'U') AND ${IS_KEPT}
    FOR UPDATE OF r SKIP LOCKED
  ), renewed AS (
    UPDATE lockstep_idempotency r SET state = 'P', uncertain_since = NULL, lease_until = held.lease_until,
      expires_at = CASE WHEN r.policy = 'R' THEN held.lease_until + held.retention END
    FROM held WHERE r.id = held.id RETURNING held.place
  )
  SELECT CASE WHEN renewed.place IS NOT NULL THEN 'renewed' WHEN r.id IS NOT NULL THEN 'unknown' ELSE 'lost' END AS outcome
  FROM asked LEFT JOIN renewed USING (place)
    LEFT JOIN lockstep_idempotency r ON r.id = asked.id AND r.owner = asked.owner AND r.state IN ('P', 'U') AND ${IS_KEPT}
  ORDER BY asked.place`;

export const SWEEP = `WITH due AS (
    SELECT id FROM lockstep_idempotency
    WHERE state = 'P' AND policy = 'U' AND ${DUE} <= statement_timestamp()
    ORDER BY ${DUE} LIMIT $1 FOR UPDATE SKIP LOCKED
  )
  UPDATE lockstep_idempotency r SET state = 'U', uncertain_since = clock_timestamp(), lease_until = NULL
  FROM due WHERE r.id = due.id`;

export const LIST_UNCERTAIN = `SELECT id, operation, (extract(epoch FROM uncertain_since) * 1000)::text AS since
  FROM lockstep_idempotency WHERE state = 'U' ORDER BY ${DUE} LIMIT $1`;

// The owner, should it be alive, has no say any more. What it began with may be kept for longer than is asked for here.
export const RESOLVE = `UPDATE lockstep_idempotency r SET state = $2::"char", owner = '', past = 0, response = $3::text,
    steps = NULL, fingerprint = CASE WHEN $2 = 'C' THEN r.fingerprint END, uncertain_since = NULL,
    expires_at = ${after('greatest($4::float8, r.retention_ms)')}
  WHERE r.id = $1 AND r.state = 'U'`;

// A new owner gets a new fence; the one who asks again gets his own.
export const ADOPT = `UPDATE lockstep_idempotency r SET state = 'P', past = 2, owner = $2, uncertain_since = NULL,
    fence = CASE WHEN r.owner = $2 THEN r.fence
      ELSE greatest(r.fence + 1, floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint) END,
    lease_until = ${after('$3')}, expires_at = CASE WHEN r.policy = 'R' THEN ${after('($3::float8 + $4::float8)')} END
  WHERE r.id = $1 AND (r.state = 'U' OR (r.state = 'P' AND r.owner = $2)) AND ${IS_KEPT}
  RETURNING r.fence::text AS fence, r.steps::text AS steps, greatest($4::float8, r.retention_ms)::text AS retention_ms`;

// What is there stays: the right side of || wins.
export const SAVE_STEP = `UPDATE lockstep_idempotency r
  SET steps = jsonb_build_object($3::text, $4::text) || coalesce(r.steps, '{}')
  WHERE r.id = $1 AND r.owner = $2 AND r.state IN ('P', 'U') AND ${IS_KEPT}`;

export const ISSUE = `INSERT INTO lockstep_idempotency AS r (id, state, policy, fence, owner, operation, expires_at)
  VALUES ($1, 'I', 'U', 0, '', '', ${after('$2')})
  ON CONFLICT (id) DO UPDATE SET state = 'I', past = 0, is_awaited = false, lease_until = NULL, owner = '',
    fingerprint = NULL, response = NULL, steps = NULL, expires_at = excluded.expires_at
  WHERE r.state = 'I' OR r.expires_at <= clock_timestamp()`;

export const ISSUE_SINGLE = `INSERT INTO lockstep_idempotency_token (slot, token, expires_at)
  VALUES ($1, $2, ${after('$3')})
  ON CONFLICT (slot) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at`;

export const TAKE_SINGLE = `DELETE FROM lockstep_idempotency_token
  WHERE slot = $1 AND token = $2 AND expires_at > clock_timestamp()`;

export const PURGE_RECORDS = `DELETE FROM lockstep_idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lockstep_idempotency
    WHERE state IN ('I', 'P', 'C', 'R') AND ${DUE} <= statement_timestamp() AND expires_at <= statement_timestamp()
    LIMIT $1 FOR UPDATE SKIP LOCKED
  ))`;

export const PURGE_TOKENS = `DELETE FROM lockstep_idempotency_token WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lockstep_idempotency_token WHERE expires_at <= statement_timestamp()
    LIMIT $1 FOR UPDATE SKIP LOCKED
  ))`;
