import type { SqlDialect } from '@lockstep/sql';
import { SQL_TERMS, type SqlTerms } from './sql-terms.js';

const TABLE = 'lockstep_notification_endpoint';
const COLUMNS = '(id, url, secrets, version';

// Assignments of MariaDB see those before them, so what reads the old values stands first.
function statementsOf({ now, later, earlier, ms }: SqlTerms) {
  const select = `SELECT id, url, secrets, version, ${ms('disabled_at')} AS disabled, disabled_reason AS reason,
    ${ms('failing_since')} AS failing FROM ${TABLE}`;
  const isSeen = 'WHERE id = $1 AND version = $2';
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
    enable: `UPDATE ${TABLE} SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL,
      paused_until = NULL, version = version + CASE WHEN version > 0 THEN 1 ELSE -1 END WHERE id = $1`,
    /** $1 id. */
    remove: `DELETE FROM ${TABLE} WHERE id = $1 AND version > 0 AND disabled_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM lockstep_notification WHERE endpoint_id = $1 AND state = 'pending')`,
    /** $1 id, $2 version. */
    succeeded: `UPDATE ${TABLE} SET failing_since = NULL ${isSeen} AND failing_since IS NOT NULL`,
    /** $1 id, $2 version, $3 ms between failures that belong together, $4 ms until disabled. */
    failedForTooLong: `UPDATE ${TABLE} SET disabled_at = ${now}, disabled_reason = 'failed for too long',
      last_failed_at = ${now}
    ${isSeen} AND disabled_at IS NULL AND last_failed_at > ${earlier('$3')} AND failing_since <= ${earlier('$4')}`,
    /** $1 id, $2 version, $3 ms between failures that belong together. */
    failed: `UPDATE ${TABLE} SET
      failing_since = CASE WHEN failing_since IS NULL OR last_failed_at <= ${earlier('$3')} THEN ${now}
        ELSE failing_since END,
      last_failed_at = ${now} ${isSeen}`,
    /** $1 id, $2 version, $3 ms. */
    pause: `UPDATE ${TABLE} SET paused_until = CASE WHEN paused_until > ${later('$3')} THEN paused_until
      ELSE ${later('$3')} END ${isSeen}`,
    /** $1 id, $2 version, $3 reason. */
    gone: `UPDATE ${TABLE} SET disabled_reason = CASE WHEN disabled_at IS NULL THEN $3 ELSE disabled_reason END,
      disabled_at = CASE WHEN disabled_at IS NULL THEN ${now} ELSE disabled_at END, last_failed_at = ${now} ${isSeen}`,
  };
}

const isOld = (before: string): string =>
  `version <= 0 AND coalesce(last_failed_at < ${before}, true) AND coalesce(paused_until < ${before}, true)`;

const INSERT = `INSERT INTO ${TABLE} ${COLUMNS}) VALUES ($1, $2, $3, 1)`;
const remembering = (now: string): string =>
  `INSERT INTO ${TABLE} ${COLUMNS}, last_failed_at) VALUES ($1, $2, '[]', 0, ${now})`;

const POSTGRES = {
  ...statementsOf(SQL_TERMS.postgres),
  /** $1 id, $2 url, $3 secrets. */
  insert: `${INSERT} ON CONFLICT (id) DO NOTHING`,
  /** $1 id, $2 url. */
  remember: `${remembering(SQL_TERMS.postgres.now)} ON CONFLICT (id) DO NOTHING`,
  /** $1 ms. */
  purge: `DELETE FROM ${TABLE} WHERE id IN (
    SELECT id FROM ${TABLE} WHERE ${isOld(SQL_TERMS.postgres.earlier('$1'))} LIMIT 1000
  )`,
};

const MARIADB: typeof POSTGRES = {
  ...statementsOf(SQL_TERMS.mariadb),
  insert: INSERT,
  remember: remembering(SQL_TERMS.mariadb.now),
  purge: `DELETE FROM ${TABLE} WHERE ${isOld(SQL_TERMS.mariadb.earlier('$1'))} LIMIT 1000`,
};

export const ENDPOINT_STATEMENTS: Readonly<Record<SqlDialect, typeof POSTGRES>> = {
  postgres: POSTGRES,
  mariadb: MARIADB,
};
