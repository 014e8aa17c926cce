import type { SqlDialect } from '../sql-transaction.js';

export interface InboxStatements {
  /** Touches one row for the first copy, and none or two for every other. `$1` day, `$2` consumer, `$3` message. */
  readonly receive: string;
  /**
   * Gives the `id`, in lower case and perhaps without dashes, of every message of which this was the first copy. `$1` day, `$2` consumer, `$3` the
   * ids in lower case, sorted: two that receive the same messages wait for each other and never in a circle.
   */
  readonly receiveMany: string;
  /** The `$3` of {@link receiveMany}; a text, because not every client library can write a list. */
  readonly listOf: (ids: readonly string[]) => string;
  /** Removes at most `$2` rows that are older than `$1` milliseconds. */
  readonly purge: string;
}

const POSTGRES: InboxStatements = {
  receive: `INSERT INTO lockstep_inbox (day, consumer, message_id) VALUES ($1::date, $2, $3::uuid)
  ON CONFLICT DO NOTHING`,
  // A set in the select list comes in its order.
  receiveMany: `INSERT INTO lockstep_inbox (day, consumer, message_id)
  SELECT $1::date, $2, unnest($3::text::uuid[])
  ON CONFLICT DO NOTHING
  RETURNING message_id::text AS id`,
  listOf: (ids) => `{${ids.join(',')}}`,
  // Instances purge side by side: each passes over the rows that another has in hand. statement_timestamp(), because the
  // planner cannot use the index for a comparison with the volatile clock_timestamp().
  purge: `DELETE FROM lockstep_inbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lockstep_inbox
    WHERE day <= ((statement_timestamp() - $1 * interval '1 millisecond') AT TIME ZONE 'UTC')::date
      AND received_at < statement_timestamp() - $1 * interval '1 millisecond'
    ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED
  ))`,
};

const MARIADB: InboxStatements = {
  // Not IGNORE, which turns every other error into a warning too. A row that is updated counts twice, if it changes.
  receive: `INSERT INTO lockstep_inbox (day, consumer, message_id) VALUES ($1, $2, UNHEX(REPLACE($3, '-', '')))
  ON DUPLICATE KEY UPDATE copies = copies + 1`,
  // Those that were there before have more than one copy by now.
  receiveMany: `INSERT INTO lockstep_inbox (day, consumer, message_id)
  SELECT $1, $2, UNHEX(REPLACE(copy.id, '-', ''))
  FROM JSON_TABLE($3, '$[*]' COLUMNS (place FOR ORDINALITY, id CHAR(36) PATH '$')) copy
  ORDER BY copy.place
  ON DUPLICATE KEY UPDATE copies = lockstep_inbox.copies + 1
  RETURNING LOWER(HEX(message_id)) AS id, copies`,
  listOf: (ids) => JSON.stringify(ids),
  // In this order: begun with the table itself, it would wait for the very rows that were passed over.
  purge: `DELETE inbox FROM (
    SELECT day, consumer, message_id FROM lockstep_inbox
    WHERE day <= DATE(UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND)
      AND received_at < UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND
    ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED
  ) old STRAIGHT_JOIN lockstep_inbox inbox
    ON inbox.day = old.day AND inbox.consumer = old.consumer AND inbox.message_id = old.message_id`,
};

export const INBOX_STATEMENTS: Readonly<Record<SqlDialect, InboxStatements>> = { postgres: POSTGRES, mariadb: MARIADB };
