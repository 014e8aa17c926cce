// One step each, and one round trip. A step of several statements is an anonymous block, each of whose statements is
// committed by itself and sees what was committed before it. So that no transaction stays open when a client goes, a row
// is changed by a statement that says what it must still look like, and looked at again where it does not.

const TEXT = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin';
const KEPT = '(r.expires_at IS NULL OR r.expires_at > UTC_TIMESTAMP(6))';
const after = (parameter: string): string => `UTC_TIMESTAMP(6) + INTERVAL (${parameter} * 1000) MICROSECOND`;
/**
 * Who waits for longer than a moment waits for somebody who holds rows by hand, or for a change of the table. A list of
 * ids must not be cut, which is an error, however short the server's own limit is.
 */
const SETTINGS = 'innodb_lock_wait_timeout = 1, lock_wait_timeout = 1, group_concat_max_len = 1048576';
const block = (body: string): string => `SET STATEMENT ${SETTINGS} FOR BEGIN NOT ATOMIC ${body} END`;

export const CLOCK = `SELECT CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000 AS CHAR) AS clock_ms`;

export const BEGIN = block(`
  DECLARE p_id VARCHAR(100) ${TEXT} DEFAULT $1;
  DECLARE p_fingerprint VARCHAR(200) ${TEXT} DEFAULT $2;
  DECLARE p_owner VARCHAR(100) ${TEXT} DEFAULT $3;
  DECLARE p_policy CHAR(1) ${TEXT} DEFAULT $7;
  DECLARE v_state, v_found_state, v_policy CHAR(1) ${TEXT};
  DECLARE v_id, v_owner VARCHAR(100) ${TEXT};
  DECLARE v_fingerprint VARCHAR(200) ${TEXT};
  DECLARE v_operation TEXT ${TEXT};
  DECLARE v_response, v_steps LONGTEXT ${TEXT};
  DECLARE v_outcome VARCHAR(20) ${TEXT};
  DECLARE v_past INT;
  DECLARE v_fence, v_new_fence, v_clock_us BIGINT;
  DECLARE v_now, v_lease, v_new_lease, v_expires, v_new_expires DATETIME(6);
  DECLARE v_is_late, v_is_over, v_is_taken BOOLEAN;
  DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
  DECLARE CONTINUE HANDLER FOR 1062 SET v_is_taken = TRUE;

  look: LOOP
    SET v_id = NULL, v_found_state = NULL, v_policy = NULL, v_owner = NULL, v_fingerprint = NULL, v_past = NULL,
      v_fence = NULL, v_lease = NULL, v_expires = NULL, v_response = NULL, v_steps = NULL, v_is_taken = FALSE;
    SELECT r.id, r.state, r.policy, r.owner, r.fingerprint, r.past, r.fence, r.lease_until, r.expires_at, r.response,
        r.operation
      INTO v_id, v_found_state, v_policy, v_owner, v_fingerprint, v_past, v_fence, v_lease, v_expires, v_response,
        v_operation
      FROM lockstep_idempotency r WHERE r.id = p_id;
    SET v_now = UTC_TIMESTAMP(6);
    SET v_clock_us = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', v_now);
    SET v_is_late = v_clock_us / 1000 > $8;
    -- Over is as good as gone, but for the fence.
    SET v_is_over = COALESCE(v_expires <= v_now, FALSE);
    SET v_state = IF(v_is_over, NULL, v_found_state);

    SET v_outcome = CASE
      WHEN v_state IS NULL AND $9 THEN 'absent'
      WHEN v_state IS NULL THEN IF(v_is_late, 'late', 'claim')
      WHEN v_fingerprint <> p_fingerprint THEN 'mismatch'
      WHEN v_state = 'C' THEN 'completed'
      WHEN v_owner = p_owner THEN IF(v_state = 'R', 'late', 'again')
      WHEN v_state = 'U' THEN 'uncertain'
      WHEN v_state = 'P' AND v_lease > v_now THEN 'busy'
      WHEN v_state = 'P' AND v_policy = 'U' THEN 'abandoned'
      ELSE IF(v_is_late, 'late', 'claim')
    END;
    IF v_outcome NOT IN ('claim', 'again', 'abandoned') THEN LEAVE look; END IF;

    IF v_outcome = 'abandoned' THEN
      UPDATE lockstep_idempotency r SET r.state = 'U', r.uncertain_since = v_now, r.lease_until = NULL
        WHERE r.id = p_id AND r.state = 'P' AND r.fence = v_fence AND r.lease_until = v_lease;
      IF ROW_COUNT() = 0 THEN ITERATE look; END IF;
      SET v_outcome = 'uncertain';
      LEAVE look;
    END IF;

    SET v_new_fence = v_fence;
    IF v_outcome = 'claim' THEN
      SET v_past = CASE
        WHEN v_state IS NULL THEN 0
        WHEN v_state = 'P' THEN 2
        WHEN v_fingerprint IS NOT NULL AND v_past = 0 THEN 1
        ELSE v_past
      END;
      -- The clock keeps fences rising when the row, and the last fence with it, was deleted.
      SET v_new_fence = GREATEST(COALESCE(v_fence, 0) + 1, v_clock_us);
      SET v_policy = p_policy, v_operation = $4;
    END IF;
    SET v_new_lease = v_now + INTERVAL ($5 * 1000) MICROSECOND;
    -- A running row of policy U must not vanish before somebody knows; that of policy R must outlive its lease.
    SET v_new_expires = IF(v_policy = 'R', v_new_lease + INTERVAL ($6 * 1000) MICROSECOND, NULL);

    IF v_id IS NULL THEN
      INSERT INTO lockstep_idempotency
        (id, state, policy, fence, lease_until, expires_at, fingerprint, owner, operation, retention_ms)
        VALUES (p_id, 'P', v_policy, v_new_fence, v_new_lease, v_new_expires, p_fingerprint, p_owner, v_operation, $6);
      IF v_is_taken THEN ITERATE look; END IF;
    ELSE
      UPDATE lockstep_idempotency r SET r.state = 'P', r.policy = v_policy, r.past = v_past, r.fence = v_new_fence,
          r.lease_until = v_new_lease, r.uncertain_since = NULL, r.expires_at = v_new_expires,
          r.fingerprint = p_fingerprint, r.owner = p_owner, r.operation = v_operation, r.response = NULL,
          r.steps = IF(v_is_over, NULL, r.steps), r.retention_ms = $6
        WHERE r.id = p_id AND r.state = v_found_state AND r.fence = v_fence AND r.owner = v_owner
          AND r.lease_until <=> v_lease AND r.expires_at <=> v_expires;
      IF ROW_COUNT() = 0 THEN ITERATE look; END IF;
      -- Not before: up to then the former owner may have kept another one.
      SELECT r.steps INTO v_steps FROM lockstep_idempotency r WHERE r.id = p_id AND r.owner = p_owner;
    END IF;
    SET v_outcome = IF(v_past = 2, 'recovered', 'acquired');
    LEAVE look;
  END LOOP;
  SELECT v_outcome AS outcome, CAST(v_clock_us / 1000 AS CHAR) AS clock_ms,
    CAST(TIMESTAMPDIFF(MICROSECOND, v_now, v_lease) / 1000 AS CHAR) AS left_ms, CAST(v_new_fence AS CHAR) AS fence,
    v_response AS response, v_steps AS steps;
`);

// This claim did nothing when it is released as N; what an earlier one may have done is still bound to its payload. What
// is settled as uncertain may be set running again by a renewal on its way or an adoption; when that one vanishes nobody
// may simply begin.
export const SETTLE = block(`
  UPDATE lockstep_idempotency r SET
    r.fingerprint = IF($3 = 'N' AND r.past = 0, NULL, r.fingerprint),
    r.steps = IF($3 = 'C' OR ($3 = 'N' AND r.past = 0), NULL, r.steps),
    r.response = $4, r.lease_until = NULL, r.policy = IF($3 = 'U', 'U', r.policy),
    r.uncertain_since = IF($3 = 'U', COALESCE(r.uncertain_since, UTC_TIMESTAMP(6)), NULL),
    r.expires_at = IF($3 = 'U', NULL, ${after('$5')}),
    r.state = IF($3 = 'N', 'R', $3)
    WHERE r.id = $1 AND r.owner = $2 AND r.state IN ('P', 'U') AND ${KEPT};
  IF ROW_COUNT() > 0 THEN
    SELECT 1 AS settled;
  ELSE
    SELECT EXISTS (SELECT 1 FROM lockstep_idempotency r
      WHERE r.id = $1 AND r.owner = $2 AND r.state = IF($3 = 'N', 'R', $3) AND ${KEPT}) AS settled;
  END IF;
`);

const ASKED = `JSON_TABLE(p_items, '$[*]' COLUMNS (
    place FOR ORDINALITY, id VARCHAR(100) ${TEXT} PATH '$.id', owner VARCHAR(100) ${TEXT} PATH '$.owner',
    lease_us BIGINT PATH '$.leaseUs', retention_us BIGINT PATH '$.retentionUs'
  )) asked`;

export const RENEW = block(`
  DECLARE p_items LONGTEXT ${TEXT} DEFAULT $1;
  UPDATE ${ASKED} STRAIGHT_JOIN lockstep_idempotency r FORCE INDEX (PRIMARY) ON r.id = asked.id AND r.owner = asked.owner
    SET r.state = 'P', r.uncertain_since = NULL,
      r.lease_until = UTC_TIMESTAMP(6) + INTERVAL asked.lease_us MICROSECOND,
      r.expires_at = IF(r.policy = 'R', UTC_TIMESTAMP(6) + INTERVAL (asked.lease_us + asked.retention_us) MICROSECOND, NULL)
    WHERE r.state IN ('P', 'U') AND ${KEPT};
  SELECT IF(r.id IS NULL, 'lost', 'renewed') AS outcome
    FROM ${ASKED} LEFT JOIN lockstep_idempotency r FORCE INDEX (PRIMARY)
      ON r.id = asked.id AND r.owner = asked.owner AND r.state = 'P' AND ${KEPT}
    ORDER BY asked.place;
`);

/**
 * Finds rows without a lock and changes them by their key, in its order: a change that came along the index, or in another
 * order than a batch of renewals, would wait for those who wait for it.
 */
const byKey = (found: string, change: (source: string) => string): string =>
  block(`
  DECLARE v_ids LONGTEXT ${TEXT};
  SELECT JSON_ARRAYAGG(found.id ORDER BY found.id) INTO v_ids FROM (${found}) found;
  ${change(`JSON_TABLE(v_ids, '$[*]' COLUMNS (id VARCHAR(100) ${TEXT} PATH '$')) due`)};
  SELECT ROW_COUNT() AS changed;
`);

export const sweep = (limit: number): string =>
  byKey(
    `SELECT id FROM lockstep_idempotency WHERE state = 'P' AND policy = 'U' AND due_at <= UTC_TIMESTAMP(6)
      ORDER BY due_at LIMIT ${Math.trunc(limit)}`,
    (due) => `UPDATE ${due} STRAIGHT_JOIN lockstep_idempotency r FORCE INDEX (PRIMARY) ON r.id = due.id
    SET r.state = 'U', r.uncertain_since = UTC_TIMESTAMP(6), r.lease_until = NULL
    WHERE r.state = 'P' AND r.policy = 'U' AND r.lease_until <= UTC_TIMESTAMP(6)`,
  );

export const purgeRecords = (limit: number): string =>
  byKey(
    `SELECT id FROM lockstep_idempotency WHERE state IN ('I', 'P', 'C', 'R') AND due_at <= UTC_TIMESTAMP(6)
      AND expires_at <= UTC_TIMESTAMP(6) LIMIT ${Math.trunc(limit)}`,
    (due) => `DELETE r FROM ${due} STRAIGHT_JOIN lockstep_idempotency r FORCE INDEX (PRIMARY) ON r.id = due.id
    WHERE r.state <> 'U' AND r.expires_at <= UTC_TIMESTAMP(6)`,
  );

export const purgeTokens = (limit: number): string =>
  byKey(
    `SELECT slot AS id FROM lockstep_idempotency_token WHERE expires_at <= UTC_TIMESTAMP(6) LIMIT ${Math.trunc(limit)}`,
    (due) => `DELETE r FROM ${due} STRAIGHT_JOIN lockstep_idempotency_token r FORCE INDEX (PRIMARY) ON r.slot = due.id
    WHERE r.expires_at <= UTC_TIMESTAMP(6)`,
  );

export const listUncertain = (limit: number): string => `SELECT id, operation,
    CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', uncertain_since) / 1000 AS CHAR) AS since
  FROM lockstep_idempotency WHERE state = 'U' ORDER BY due_at LIMIT ${Math.trunc(limit)}`;

// The owner, should it be alive, has no say any more. What it began with may be kept for longer than is asked for here.
export const RESOLVE = `UPDATE lockstep_idempotency r SET r.owner = '', r.past = 0, r.response = $3, r.steps = NULL,
    r.fingerprint = IF($2 = 'C', r.fingerprint, NULL), r.uncertain_since = NULL, r.state = $2,
    r.expires_at = ${after('GREATEST($4, r.retention_ms)')}
  WHERE r.id = $1 AND r.state = 'U'`;

// A new owner gets a new fence; the one who asks again gets his own. Assignments take effect from left to right.
export const ADOPT = block(`
  UPDATE lockstep_idempotency r SET r.past = 2, r.uncertain_since = NULL,
      r.fence = IF(r.owner = $2, r.fence,
        GREATEST(r.fence + 1, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)))),
      r.owner = $2, r.lease_until = ${after('$3')},
      r.expires_at = IF(r.policy = 'R', ${after('($3 + $4)')}, NULL), r.state = 'P'
    WHERE r.id = $1 AND (r.state = 'U' OR (r.state = 'P' AND r.owner = $2)) AND ${KEPT};
  SELECT CAST(r.fence AS CHAR) AS fence, r.steps AS steps, CAST(GREATEST($4, r.retention_ms) AS CHAR) AS retention_ms
    FROM lockstep_idempotency r
    WHERE r.id = $1 AND r.owner = $2 AND r.state = 'P' AND ${KEPT};
`);

// What is there stays: the second document wins.
export const SAVE_STEP = `UPDATE lockstep_idempotency r
  SET r.steps = JSON_MERGE_PATCH(JSON_OBJECT($3, $4), COALESCE(r.steps, '{}'))
  WHERE r.id = $1 AND r.owner = $2 AND r.state IN ('P', 'U') AND ${KEPT}`;

// Assignments take effect from left to right, so what the condition reads comes last.
const MAY_ISSUE = `(state = 'I' OR expires_at <= UTC_TIMESTAMP(6))`;
export const ISSUE = `INSERT INTO lockstep_idempotency (id, state, policy, fence, owner, operation, expires_at)
  VALUES ($1, 'I', 'U', 0, '', '', ${after('$2')})
  ON DUPLICATE KEY UPDATE past = IF(${MAY_ISSUE}, 0, past), lease_until = IF(${MAY_ISSUE}, NULL, lease_until),
    owner = IF(${MAY_ISSUE}, '', owner), fingerprint = IF(${MAY_ISSUE}, NULL, fingerprint),
    response = IF(${MAY_ISSUE}, NULL, response), steps = IF(${MAY_ISSUE}, NULL, steps),
    state = IF(${MAY_ISSUE}, 'I', state), expires_at = IF(state = 'I', VALUES(expires_at), expires_at)`;

export const ISSUE_SINGLE = `INSERT INTO lockstep_idempotency_token (slot, token, expires_at)
  VALUES ($1, $2, ${after('$3')})
  ON DUPLICATE KEY UPDATE token = VALUES(token), expires_at = VALUES(expires_at)`;

export const TAKE_SINGLE = `DELETE FROM lockstep_idempotency_token
  WHERE slot = $1 AND token = $2 AND expires_at > UTC_TIMESTAMP(6)`;
