import type { SqlDialect } from '@lockstep/sql';
import { SQL_TERMS, type SqlTerms } from './sql-terms.js';

const TABLE = 'lockstep_notification_endpoint';
const COLUMNS = '(id, url, secrets, version';

// Assignments of MariaDB see those before them, so what reads the old values stands first.
function statementsOf({ now, later, earlier, ms, onSameId }: SqlTerms) {
  const select = `SELECT id, url, secrets, version, ${ms('disabled_at')} AS disabled, disabled_reason AS reason,
    ${ms('failing_since')} AS failing FROM ${TABLE}`;
  const isOldRun = `${TABLE}.last_failed_at <= ${earlier('$3')}`;
  const isOver = `${TABLE}.disabled_at IS NULL AND NOT (${isOldRun}) AND ${TABLE}.failing_since <= ${earlier('$4')}`;
  return {
    /** $1 id. */
    find: `${select} WHERE id = $1`,
    /** $1 id of the last one seen, $2 limit. */
    list: `${select} WHERE id > $1 ORDER BY id LIMIT $2`,
    /** $1 id, $2 url, $3 secrets, $4 the version it has. */
    update: `UPDATE ${TABLE} SET url = $2, secrets = $3, version = version + 1 WHERE id = $1 AND version = $4`,
    /** $1 id, $2 reason. */
    disable: `UPDATE ${TABLE} SET disabled_reason = CASE WHEN disabled_at IS NULL THEN $2 ELSE disabled_reason END,
      disabled_at = CASE WHEN disabled_at IS NULL THEN ${now} ELSE disabled_at END WHERE id = $1`,
    /** $1 id. */
    enable: `UPDATE ${TABLE} SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL, last_failed_at = NULL,
      paused_until = NULL WHERE id = $1`,
    succeeded: `UPDATE ${TABLE} SET failing_since = NULL, last_failed_at = NULL WHERE id = $1`,
    /** $1 id, $2 url, $3 ms between failures that belong together, $4 ms until disabled. */
    failed: `INSERT INTO ${TABLE} ${COLUMNS}, failing_since, last_failed_at) VALUES ($1, $2, '[]', 0, ${now}, ${now})
    ${onSameId}
      disabled_reason = CASE WHEN ${isOver} THEN 'failed for too long' ELSE ${TABLE}.disabled_reason END,
      disabled_at = CASE WHEN ${isOver} THEN ${now} ELSE ${TABLE}.disabled_at END,
      failing_since = CASE WHEN ${TABLE}.failing_since IS NULL OR ${isOldRun} THEN ${now}
        ELSE ${TABLE}.failing_since END,
      last_failed_at = ${now}
    RETURNING CASE WHEN disabled_at = ${now} THEN 1 ELSE 0 END AS disabled`,
    /** $1 id, $2 url, $3 ms. */
    pause: `INSERT INTO ${TABLE} ${COLUMNS}, paused_until) VALUES ($1, $2, '[]', 0, ${later('$3')})
    ${onSameId} paused_until = ${later('$3')}`,
    /** $1 id, $2 url, $3 reason. */
    gone: `INSERT INTO ${TABLE} ${COLUMNS}, disabled_at, disabled_reason, last_failed_at)
      VALUES ($1, $2, '[]', 0, ${now}, $3, ${now})
    ${onSameId}
      disabled_reason = CASE WHEN ${TABLE}.disabled_at IS NULL THEN $3 ELSE ${TABLE}.disabled_reason END,
      disabled_at = CASE WHEN ${TABLE}.disabled_at IS NULL THEN ${now} ELSE ${TABLE}.disabled_at END,
      last_failed_at = ${now}`,
  };
}

const POSTGRES = {
  ...statementsOf(SQL_TERMS.postgres),
  /** $1 id, $2 url, $3 secrets. */
  insert: `INSERT INTO ${TABLE} ${COLUMNS}) VALUES ($1, $2, $3, 1) ON CONFLICT (id) DO NOTHING`,
  /** $1 ms. */
  purge: `DELETE FROM ${TABLE} WHERE id IN (
    SELECT id FROM ${TABLE} WHERE version = 0
      AND coalesce(last_failed_at, paused_until) < ${SQL_TERMS.postgres.earlier('$1')} LIMIT 1000
  )`,
};

const MARIADB: typeof POSTGRES = {
  ...statementsOf(SQL_TERMS.mariadb),
  insert: `INSERT INTO ${TABLE} ${COLUMNS}) VALUES ($1, $2, $3, 1)`,
  purge: `DELETE FROM ${TABLE} WHERE version = 0
    AND coalesce(last_failed_at, paused_until) < ${SQL_TERMS.mariadb.earlier('$1')} LIMIT 1000`,
};

export const ENDPOINT_STATEMENTS: Readonly<Record<SqlDialect, typeof POSTGRES>> = {
  postgres: POSTGRES,
  mariadb: MARIADB,
};
