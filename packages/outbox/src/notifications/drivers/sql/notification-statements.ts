import type { SqlDialect } from '@lockstep/sql';
import { SQL_TERMS, type SqlTerms } from './sql-terms.js';

const TABLE = 'lockstep_notification';
const ENDPOINT = 'lockstep_notification_endpoint';
const REPLAYED = `state = 'pending', reason = NULL, attempts = 0, is_claimed = false, finished_at = NULL`;
const CAPPED = 10_000;

/** One row for each endpoint that has something pending, found by jumps along the index. */
const HEADS = `WITH RECURSIVE lane (endpoint_id) AS (
  SELECT min(endpoint_id) FROM ${TABLE} WHERE state = 'pending'
  UNION ALL
  SELECT (SELECT min(n.endpoint_id) FROM ${TABLE} n WHERE n.state = 'pending' AND n.endpoint_id > lane.endpoint_id)
  FROM lane WHERE lane.endpoint_id IS NOT NULL
), head AS (
  SELECT lane.endpoint_id,
    (SELECT min(n.due_at) FROM ${TABLE} n WHERE n.state = 'pending' AND n.endpoint_id = lane.endpoint_id) AS due_at
  FROM lane WHERE lane.endpoint_id IS NOT NULL
)`;

/** The same jumps, which this server makes for such a grouping and not for the correlated minimum. */
const GROUPED_HEADS = `WITH head AS (
  SELECT endpoint_id, min(due_at) AS due_at FROM ${TABLE} WHERE state = 'pending' GROUP BY state, endpoint_id
)`;

/** Locked, so that who enables it and then replays waits for the end of a cancellation, and loses nothing to it. */
const disabled = `SELECT id FROM ${ENDPOINT} WHERE id = $1 AND disabled_at IS NOT NULL`;

const isOf = (states: number): string =>
  `endpoint_id = $1 AND state IN (${Array.from({ length: states }, (_, at) => `$${at + 2}`).join(', ')})`;

function common({ now, clock, later, ms, untilMs }: SqlTerms, heads: string) {
  const capped = (from: string): string =>
    `(SELECT count(*) FROM (SELECT 1 AS one FROM ${from} LIMIT ${CAPPED}) capped)`;
  return {
    /** $1 limit. */
    lanes: `${heads}, lane_due AS (
      SELECT head.endpoint_id, e.url, e.secrets, e.version, e.disabled_at, e.failing_since,
        CASE WHEN e.disabled_at IS NULL AND e.paused_until > head.due_at THEN e.paused_until ELSE head.due_at END AS due_at
      FROM head LEFT JOIN ${ENDPOINT} e ON e.id = head.endpoint_id
    )
    SELECT endpoint_id AS endpoint, url, secrets, version, ${untilMs('due_at')} AS due,
      CASE WHEN disabled_at IS NULL THEN 0 ELSE 1 END AS disabled,
      CASE WHEN failing_since IS NULL THEN 0 ELSE 1 END AS failing
    FROM lane_due WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1`,
    /** $1 id, $2 epoch, $3 state, $4 reason, $5 log, $6 ms until due, $7 whether it is finished, as 0 or 1. */
    settle: `UPDATE ${TABLE} SET state = $3, reason = $4, log = $5, due_at = ${later('$6')}, is_claimed = false,
      finished_at = CASE WHEN $7 = 1 THEN ${now} ELSE NULL END
    WHERE id = $1 AND epoch = $2 AND state = 'pending' AND is_claimed`,
    /** $1 id, $2 epoch. */
    release: `UPDATE ${TABLE} SET attempts = attempts - 1, due_at = ${now}, is_claimed = false
    WHERE id = $1 AND epoch = $2 AND state = 'pending' AND is_claimed`,
    /** $1 id. */
    found: `SELECT endpoint_id AS endpoint, type FROM ${TABLE} WHERE id = $1`,
    find: `SELECT id, endpoint_id AS endpoint, type, state, reason, log, ${ms('created_at')} AS created,
      ${ms('due_at')} AS due, ${ms('finished_at')} AS finished FROM ${TABLE} WHERE id = $1`,
    facts: `SELECT ${capped(`${TABLE} WHERE state = 'pending'`)} AS pending,
      ${capped(`${TABLE} WHERE state = 'exhausted'`)} AS exhausted,
      ${capped(`${ENDPOINT} WHERE disabled_at IS NOT NULL`)} AS disabled`,
    clock: `SELECT ${ms(clock)} AS now`,
  };
}

const P = SQL_TERMS.postgres;
const ROW = 'n.id, n.url, n.body, n.attempts, n.epoch, n.log';

const POSTGRES = {
  ...common(P, HEADS),
  /** $1 id, $2 endpoint, $3 url, $4 type, $5 body, $6 ms until due. */
  append: `INSERT INTO ${TABLE} (id, endpoint_id, url, type, body, due_at)
    SELECT $1::text, $2::text, $3::text, $4::text, $5::text, ${P.later('$6', P.clock)}
    WHERE $3::text IS NOT NULL OR EXISTS (SELECT 1 FROM ${ENDPOINT} WHERE id = $2::text AND version > 0)
    ON CONFLICT (id) DO NOTHING`,
  /** $1 endpoint, $2 limit, $3 ms of the lease. */
  claim: `WITH due AS MATERIALIZED (
      SELECT id FROM ${TABLE} WHERE state = 'pending' AND endpoint_id = $1 AND due_at <= now()
      ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    UPDATE ${TABLE} n SET attempts = attempts + 1, epoch = epoch + 1, is_claimed = true, due_at = ${P.later('$3')}
    FROM due WHERE n.id = due.id RETURNING ${ROW}, ${P.ms('now()')} AS now`,
  /** $1 endpoint, $2 reason, $3 limit. */
  cancel: `WITH disabled AS MATERIALIZED (${disabled} FOR SHARE)
    UPDATE ${TABLE} n SET state = 'cancelled', reason = $2, finished_at = now(), is_claimed = false
    FROM (
      SELECT id FROM ${TABLE} WHERE state = 'pending' AND endpoint_id = $1 AND (NOT is_claimed OR due_at <= now())
        AND EXISTS (SELECT 1 FROM disabled)
      LIMIT $3 FOR UPDATE SKIP LOCKED
    ) old WHERE n.id = old.id`,
  /** $1 endpoint, $2 to $4 states, $5 from, $6 to, $7 finished before, $8 limit. */
  replay: `UPDATE ${TABLE} n SET ${REPLAYED}, due_at = now()
    FROM (
      SELECT id FROM ${TABLE} WHERE ${isOf(3)} AND created_at >= ${P.fromMs('$5')} AND created_at < ${P.fromMs('$6')}
        AND finished_at < ${P.fromMs('$7')}
      ORDER BY created_at LIMIT $8 FOR UPDATE SKIP LOCKED
    ) old WHERE n.id = old.id`,
  /** $1 state, $2 ms. */
  purge: `DELETE FROM ${TABLE} WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM ${TABLE} WHERE state = $1 AND state <> 'pending' AND finished_at < ${P.earlier('$2')}
      LIMIT 1000 FOR UPDATE SKIP LOCKED
    ))`,
};

const M = SQL_TERMS.mariadb;

const MARIADB: typeof POSTGRES = {
  ...common(M, GROUPED_HEADS),
  append: `INSERT INTO ${TABLE} (id, endpoint_id, url, type, body, due_at)
    SELECT $1, $2, $3, $4, $5, ${M.later('$6')} FROM DUAL
    WHERE $3 IS NOT NULL OR EXISTS (SELECT 1 FROM ${ENDPOINT} WHERE id = $2 AND version > 0)`,
  // Followed by `claimed`, in one transaction: an update that gives its rows back this server does not have.
  claim: `SELECT ${ROW}, ${M.ms(M.now)} AS now FROM ${TABLE} n
    WHERE state = 'pending' AND endpoint_id = $1 AND due_at <= ${M.now} ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED`,
  cancel: `UPDATE ${TABLE} SET state = 'cancelled', reason = $2, finished_at = ${M.now}, is_claimed = false
    WHERE state = 'pending' AND endpoint_id = $1 AND (NOT is_claimed OR due_at <= ${M.now})
      AND EXISTS (${disabled} LOCK IN SHARE MODE) LIMIT $3`,
  replay: `UPDATE ${TABLE} SET ${REPLAYED}, due_at = ${M.now}
    WHERE ${isOf(3)} AND created_at >= ${M.fromMs('$5')} AND created_at < ${M.fromMs('$6')}
      AND finished_at < ${M.fromMs('$7')} ORDER BY created_at LIMIT $8`,
  purge: `DELETE FROM ${TABLE} WHERE state = $1 AND finished_at < ${M.earlier('$2')} LIMIT 1000`,
};

/** Of MariaDB: $1 ms of the lease, the ids from $2. */
export function claimed(count: number): string {
  const ids = Array.from({ length: count }, (_, at) => `$${at + 2}`).join(', ');
  return `UPDATE ${TABLE} SET attempts = attempts + 1, epoch = epoch + 1, is_claimed = true, due_at = ${M.later('$1')}
    WHERE id IN (${ids})`;
}

export const NOTIFICATION_STATEMENTS: Readonly<Record<SqlDialect, typeof POSTGRES>> = {
  postgres: POSTGRES,
  mariadb: MARIADB,
};
