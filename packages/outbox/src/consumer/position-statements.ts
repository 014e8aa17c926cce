import type { SqlDialect } from '@lockstep/sql';
import { list } from '../drivers/mariadb/outbox-columns.js';

/** A row that was looked at; on Postgres with its `place` in the table. */
export interface PositionKey {
  readonly consumer: string;
  readonly topic: string;
  readonly key: string;
  readonly place?: string;
}

export interface PositionStatements {
  /**
   * Touches a row if this message is the next one. `$1` consumer, `$2` topic, `$3` key, `$4` generation, `$5` the last
   * one before it.
   */
  readonly step: string;
  /**
   * Gives `generation` and `last` of the key, locked until the transaction ends; what is given for them where there is
   * no row yet. `$1` consumer, `$2` topic, `$3` key, `$4` generation, `$5` last.
   */
  readonly lock: string;
  /** `$1` consumer, `$2` topic, `$3` key, `$4` generation, `$5` last. */
  readonly set: string;
  /** Keeps the row for so many milliseconds more, if there is one. `$1` consumer, `$2` topic, `$3` key, `$4` ms. */
  readonly hold: string;
  /** Touches a row that nobody has touched for `$4` ms. `$1` consumer, `$2` topic, `$3` key. */
  readonly keep: string;
  /**
   * Gives the next `$5` rows behind consumer `$2`, topic `$3` and key `$4`, and `isOld`: whether one was not touched for
   * `$1` milliseconds.
   */
  readonly look: string;
  /** Removes those of the rows `$1` that were not touched for `$2` milliseconds, but for those that others have in hand. */
  readonly forget: string;
}

const POSTGRES: PositionStatements = {
  step: `UPDATE lockstep_outbox_position SET last = last + 1, touched_at = clock_timestamp()
  WHERE consumer = $1 AND topic = $2 AND key = $3 AND generation = $4::bigint AND last = $5::bigint`,
  lock: `INSERT INTO lockstep_outbox_position AS place (consumer, topic, key, generation, last)
  VALUES ($1, $2, $3, $4::bigint, $5::bigint)
  ON CONFLICT (consumer, topic, key) DO UPDATE SET touched_at = place.touched_at
  RETURNING generation::text AS generation, last::text AS last`,
  set: `UPDATE lockstep_outbox_position SET generation = $4::bigint, last = $5::bigint, touched_at = clock_timestamp()
  WHERE consumer = $1 AND topic = $2 AND key = $3`,
  hold: `UPDATE lockstep_outbox_position SET touched_at = clock_timestamp() + $4 * interval '1 millisecond'
  WHERE consumer = $1 AND topic = $2 AND key = $3`,
  keep: `UPDATE lockstep_outbox_position SET touched_at = clock_timestamp()
  WHERE consumer = $1 AND topic = $2 AND key = $3 AND touched_at < clock_timestamp() - $4 * interval '1 millisecond'`,
  look: `SELECT consumer, topic, key, ctid::text AS place,
    touched_at < statement_timestamp() - $1 * interval '1 millisecond' AS "isOld"
  FROM lockstep_outbox_position WHERE (consumer, topic, key) > ($2::text, $3::text, $4::text)
  ORDER BY consumer, topic, key LIMIT $5`,
  // By their places, which cannot be planned wrong. Should another row be there by now, it goes only if it is as old.
  forget: `DELETE FROM lockstep_outbox_position WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lockstep_outbox_position
    WHERE ctid = ANY (ARRAY(SELECT place FROM json_to_recordset($1::json) AS one (place tid)))
      AND touched_at < statement_timestamp() - $2 * interval '1 millisecond'
    FOR UPDATE SKIP LOCKED
  ))`,
};

const MARIADB: PositionStatements = {
  step: `UPDATE lockstep_outbox_position SET last = last + 1, touched_at = UTC_TIMESTAMP(6)
  WHERE consumer = $1 AND topic = $2 AND \`key\` = $3 AND generation = $4 AND last = $5`,
  lock: `INSERT INTO lockstep_outbox_position (consumer, topic, \`key\`, generation, last)
  VALUES ($1, $2, $3, $4, $5)
  ON DUPLICATE KEY UPDATE touched_at = touched_at
  RETURNING CAST(generation AS CHAR) AS generation, CAST(last AS CHAR) AS last`,
  set: `UPDATE lockstep_outbox_position SET generation = $4, last = $5, touched_at = UTC_TIMESTAMP(6)
  WHERE consumer = $1 AND topic = $2 AND \`key\` = $3`,
  hold: `UPDATE lockstep_outbox_position SET touched_at = UTC_TIMESTAMP(6) + INTERVAL $4 * 1000 MICROSECOND
  WHERE consumer = $1 AND topic = $2 AND \`key\` = $3`,
  keep: `UPDATE lockstep_outbox_position SET touched_at = UTC_TIMESTAMP(6)
  WHERE consumer = $1 AND topic = $2 AND \`key\` = $3 AND touched_at < UTC_TIMESTAMP(6) - INTERVAL $4 * 1000 MICROSECOND`,
  look: `SELECT consumer, topic, \`key\`, touched_at < UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND AS isOld
  FROM lockstep_outbox_position FORCE INDEX (PRIMARY)
  WHERE consumer > $2 OR (consumer = $2 AND (topic > $3 OR (topic = $3 AND \`key\` > $4)))
  ORDER BY consumer, topic, \`key\` LIMIT $5`,
  // In this order: begun with the table itself, it would wait for the very rows that were passed over.
  forget: `DELETE place FROM (
    SELECT idle.consumer, idle.topic, idle.\`key\`
    FROM ${list('$1', 'one', 'consumer', 'topic', 'key')} STRAIGHT_JOIN lockstep_outbox_position idle FORCE INDEX (PRIMARY)
      ON idle.consumer = one.consumer AND idle.topic = one.topic AND idle.\`key\` = one.message_key
    WHERE idle.touched_at < UTC_TIMESTAMP(6) - INTERVAL $2 * 1000 MICROSECOND
    LIMIT 2000 FOR UPDATE SKIP LOCKED
  ) old STRAIGHT_JOIN lockstep_outbox_position place FORCE INDEX (PRIMARY)
    ON place.consumer = old.consumer AND place.topic = old.topic AND place.\`key\` = old.\`key\``,
};

export const POSITION_STATEMENTS: Readonly<Record<SqlDialect, PositionStatements>> = {
  postgres: POSTGRES,
  mariadb: MARIADB,
};
