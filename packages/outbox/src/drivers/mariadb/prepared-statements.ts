import type { PreparedStatements } from '../sql/prepared-statements.js';

const EPOCH_MS = (time: string): string => `(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ${time}) DIV 1000)`;
const LATER = (ms: string): string => `UTC_TIMESTAMP(6) + INTERVAL ${ms} * 1000 MICROSECOND`;
const EARLIER = (ms: string): string => `UTC_TIMESTAMP(6) - INTERVAL ${ms} * 1000 MICROSECOND`;

const SELECTED = `id, state, topic, \`key\`, payload, headers, CAST(${EPOCH_MS('prepared_at')} AS CHAR) AS preparedAt, shard,
  CAST(awaits_ack AS CHAR) AS awaitsAck, CAST(delay_ms AS CHAR) AS delayMs, checker, checks, max_checks AS maxChecks,
  CAST(UTC_TIMESTAMP(6) < old_at AS CHAR) AS young`;

// With the collation of the column it is compared with, else no index is used.
const IDS = `(SELECT value FROM JSON_TABLE($1, '$[*]' COLUMNS (
  value char(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) listed)`;

export const MARIADB_PREPARED: PreparedStatements = {
  prepare: `
INSERT INTO lockstep_outbox_prepared (id, state, shard, awaits_ack, delay_ms, topic, \`key\`, payload, headers, checker,
  max_checks, check_every_ms, prepared_at, next_check_at, deadline_at, old_at)
VALUES ($1, 'prepared', $2, $3, $4, $5, $6, $7, $8, $9, $12, $11, UTC_TIMESTAMP(6), ${LATER('$10')}, ${LATER('$13')},
  ${LATER('$14')})
RETURNING CAST(${EPOCH_MS('deadline_at')} AS CHAR) AS deadline`,

  decide: `UPDATE lockstep_outbox_prepared SET state = $3, decided_at = UTC_TIMESTAMP(6) WHERE id = $1 AND state = $2`,

  find: `SELECT ${SELECTED} FROM lockstep_outbox_prepared WHERE id = $1`,

  // A row that is updated counts twice.
  join: `
INSERT INTO lockstep_outbox_decision (gid, decision)
SELECT $1, 'commit' FROM DUAL WHERE ${EPOCH_MS('UTC_TIMESTAMP(6)')} < $2
ON DUPLICATE KEY UPDATE copies = copies + 1`,

  // Does not wait at all: whatever holds the row is a local transaction, or another check.
  refuse: `
SET STATEMENT innodb_lock_wait_timeout = 0 FOR
INSERT INTO lockstep_outbox_decision (gid, decision)
SELECT id, 'rollback' FROM lockstep_outbox_prepared WHERE id = $1 AND state IN ('prepared', 'undecided')
ON DUPLICATE KEY UPDATE copies = copies + 1`,

  standing: 'SELECT decision FROM lockstep_outbox_decision WHERE gid = $1',

  // By a loose scan of the index, so that it costs as much as there are checkers; without the state in its group there is none.
  waiting: `
SELECT checker, CAST(${EPOCH_MS('MIN(next_check_at)')} AS CHAR) AS dueSince
FROM lockstep_outbox_prepared FORCE INDEX (lockstep_outbox_prepared_checks)
WHERE state = 'prepared' GROUP BY state, checker HAVING MIN(next_check_at) <= UTC_TIMESTAMP(6)`,

  lockDue: `
SELECT ${SELECTED} FROM lockstep_outbox_prepared
WHERE state = 'prepared' AND checker = $1 AND next_check_at <= UTC_TIMESTAMP(6)
ORDER BY next_check_at LIMIT $2 FOR UPDATE SKIP LOCKED`,

  countCheck: `
UPDATE lockstep_outbox_prepared SET checks = checks + 1, next_check_at = ${LATER('check_every_ms')} WHERE id IN ${IDS}`,

  park: `UPDATE lockstep_outbox_prepared SET state = 'undecided' WHERE id = $1 AND state = 'prepared'`,

  resume: `
UPDATE lockstep_outbox_prepared SET state = 'prepared', checks = 0, next_check_at = UTC_TIMESTAMP(6)
WHERE id = $1 AND state = 'undecided'`,

  undecided: `
SELECT ${SELECTED} FROM lockstep_outbox_prepared WHERE state = 'undecided' AND id > $1 ORDER BY id LIMIT $2`,

  facts: `
SELECT CAST((SELECT COUNT(*) FROM (SELECT 1 FROM lockstep_outbox_prepared WHERE state = 'prepared' LIMIT 10000) a) AS CHAR)
    AS prepared,
  CAST((SELECT COUNT(*) FROM (SELECT 1 FROM lockstep_outbox_prepared WHERE state = 'undecided' LIMIT 10000) b) AS CHAR)
    AS undecided,
  CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, (SELECT MIN(prepared_at) FROM (
    SELECT prepared_at FROM lockstep_outbox_prepared WHERE state = 'prepared' LIMIT 10000) c), UTC_TIMESTAMP(6))
    DIV 1000, 0) AS CHAR) AS oldestPreparedMs`,

  purgeMessages: `
DELETE half FROM (
  SELECT id FROM lockstep_outbox_prepared
  WHERE decided_at < ${EARLIER('$1')} AND deadline_at < UTC_TIMESTAMP(6)
  ORDER BY decided_at LIMIT 1000 FOR UPDATE SKIP LOCKED
) old STRAIGHT_JOIN lockstep_outbox_prepared half ON half.id = old.id`,

  purgeTombstones: `
DELETE tombstone FROM (
  SELECT gid FROM lockstep_outbox_decision
  WHERE decided_at < ${EARLIER('$1')} AND gid NOT IN (SELECT id FROM lockstep_outbox_prepared)
  ORDER BY decided_at LIMIT 1000 FOR UPDATE SKIP LOCKED
) old STRAIGHT_JOIN lockstep_outbox_decision tombstone ON tombstone.gid = old.gid`,
};
