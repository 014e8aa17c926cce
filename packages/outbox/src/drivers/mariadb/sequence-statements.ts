import { SEQUENCE_HEADER } from '../../message-headers.js';
import { has, list } from './outbox-columns.js';

/** $1 keys with how many sequences each needs, in the one order in which they are locked. */
export const DRAW = `
INSERT INTO lockstep_outbox_sequence (topic, message_key, generation, n, touched_at)
SELECT topic, message_key, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000, wanted, UTC_TIMESTAMP(6)
FROM ${list('$1', 'draw', 'topic', 'key', 'wanted')}
ON DUPLICATE KEY UPDATE n = lockstep_outbox_sequence.n + VALUES(n), touched_at = VALUES(touched_at)
RETURNING topic, message_key AS \`key\`, CAST(generation AS CHAR) AS generation, CAST(n AS CHAR) AS n`;

const hashOf = (row: string): string => `UNHEX(MD5(CONCAT(${row}.topic, '|', ${row}.message_key)))`;
const used = (table: string, consumer: string): string => `
    SELECT ${hashOf('used')} AS hash, ${consumer} AS consumer FROM ${table} used
    WHERE used.message_key IS NOT NULL AND ${has('used.headers', SEQUENCE_HEADER)}`;

export const ROUTES = 'SELECT topic, consumer FROM lockstep_outbox_subscription';

/**
 * $1 age in ms, $2 topic and $3 key after which to look, $4 how many. Locks nothing. By the primary key, because an index
 * on the time would be written with every draw; and by a hash of the key, which is too long for the index of a list.
 */
export const LOOK_AT_KEYS = `
SELECT looked.topic, looked.message_key AS \`key\`, CAST(looked.generation AS CHAR) AS generation,
  CAST(looked.n AS CHAR) AS n, CAST(looked.touched_at AS CHAR) AS touched_at, looked.is_idle AS isIdle,
  waiting.consumers AS waiting,
  CASE WHEN looked.is_idle AND waiting.consumers IS NOT NULL THEN (
    SELECT JSON_ARRAYAGG(start.consumer) FROM lockstep_outbox_start start FORCE INDEX (PRIMARY)
    WHERE start.topic = looked.topic AND start.message_key = looked.message_key
      AND start.sequence = CONCAT(looked.generation, '.', looked.n + 1)
  ) END AS told
FROM (
  SELECT topic, message_key, generation, n, touched_at,
    touched_at < UTC_TIMESTAMP(6) - INTERVAL $1 * 1000 MICROSECOND AS is_idle
  FROM lockstep_outbox_sequence FORCE INDEX (PRIMARY)
  WHERE topic > $2 OR (topic = $2 AND message_key > $3) ORDER BY topic, message_key LIMIT $4
) looked LEFT JOIN (
  SELECT one.hash, JSON_ARRAYAGG(one.consumer) AS consumers FROM (${used('lockstep_outbox', "''")}
    UNION ${used('lockstep_outbox_inflight', 'used.consumer')}
    UNION ${used('lockstep_outbox_dead', 'used.consumer')}
  ) one GROUP BY one.hash
) waiting ON waiting.hash = ${hashOf('looked')}
ORDER BY looked.topic, looked.message_key`;

/** $1 keys. Those of them from which nobody has drawn since, and nobody is drawing. */
export const LOCK_UNUSED = `
SELECT counter.topic, counter.message_key AS \`key\`
FROM ${list('$1', 'one', 'topic', 'key', 'touched_at')}
STRAIGHT_JOIN lockstep_outbox_sequence counter FORCE INDEX (PRIMARY)
  ON counter.topic = one.topic AND counter.message_key = one.message_key
WHERE counter.touched_at = one.touched_at FOR UPDATE SKIP LOCKED`;

const forget = (table: string): string => `
DELETE gone FROM ${list('$1', 'one', 'topic', 'key')} STRAIGHT_JOIN ${table} gone FORCE INDEX (PRIMARY)
  ON gone.topic = one.topic AND gone.message_key = one.message_key`;

/** $1 keys. */
export const FORGET_STARTS = forget('lockstep_outbox_start');
/** $1 keys. */
export const FORGET_COUNTERS = forget('lockstep_outbox_sequence');

/** $1 keys with consumers. They begin with that sequence; what they were told before was earlier. */
export const TELL_STARTS = `
INSERT INTO lockstep_outbox_start (topic, message_key, consumer, sequence)
SELECT topic, message_key, consumer, sequence FROM ${list('$1', 'one', 'topic', 'key', 'consumer', 'sequence')}
ON DUPLICATE KEY UPDATE sequence = VALUES(sequence)`;
