import { FLYING, NOTHING_NEW } from './flight-statements.js';
import { epochMs, inMs, list, MESSAGE, messageOf, selected } from './outbox-columns.js';

const ENTRY_OF_MESSAGE = ['shard', 'awaits_ack', 'message_id', 'topic', 'key', 'payload', 'headers'] as const;

/** $1 records. The position is drawn in the order of the list. */
export const APPEND = `
INSERT INTO lockstep_outbox (shard, id, awaits_ack, ${MESSAGE})
SELECT shard, NEXTVAL(lockstep_outbox_ticket), awaits_ack, UNHEX(message_id), topic, message_key, payload, headers
FROM ${list('$1', 'record', ...ENTRY_OF_MESSAGE)}`;

/** $1 records, each with `delay_ms`. They are given out in the order in which they are due. */
export const APPEND_DELAYED = `
INSERT INTO lockstep_outbox_delayed (due_at, shard, awaits_ack, ${MESSAGE})
SELECT ${inMs('delay_ms')}, shard, awaits_ack, UNHEX(message_id), topic, message_key, payload, headers
FROM ${list('$1', 'record', 'delay_ms', ...ENTRY_OF_MESSAGE)}`;

/** How long until the first one is due; what is not committed yet does not count. */
export const NEXT_DUE = `
SELECT CAST(CEIL(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), due_at) / 1000) AS CHAR) AS inMs
FROM lockstep_outbox_delayed ORDER BY due_at LIMIT 1`;

/** $1 limit. */
export const LOCK_DUE = `
SELECT LOWER(HEX(message_id)) AS message_id, CAST(due_at AS CHAR) AS due_at FROM lockstep_outbox_delayed
WHERE due_at <= UTC_TIMESTAMP(6) ORDER BY due_at, message_id LIMIT $1 FOR UPDATE SKIP LOCKED`;

const OF_DELAYED = `${list('$1', 'due', 'message_id', 'due_at')} STRAIGHT_JOIN lockstep_outbox_delayed late
  FORCE INDEX (PRIMARY) ON late.due_at = due.due_at AND late.message_id = UNHEX(due.message_id)`;

/** $1 what is due. From the time at which it was, a message counts as published: its delay is no delay of the relay. */
export const PROMOTE = `
INSERT INTO lockstep_outbox (shard, id, awaits_ack, ${MESSAGE}, published_at)
SELECT late.shard, NEXTVAL(lockstep_outbox_ticket), late.awaits_ack, ${messageOf('late')}, late.due_at
FROM ${OF_DELAYED}`;

/** $1 what was promoted. */
export const REMOVE_DELAYED = `DELETE late FROM ${OF_DELAYED}`;

/** $1 first shard, $2 last shard, $3 position: ranges of the key, as a comparison of rows would not be. */
const BEHIND = '((shard = $1 AND id > $3) OR (shard > $1 AND shard <= $2))';

/** $1 first shard, $2 last shard, $3 position in the first shard behind which to begin. */
export const HAS_PENDING = `SELECT 1 AS pending FROM lockstep_outbox WHERE ${BEHIND} LIMIT 1`;

/**
 * $1 first shard, $2 last shard, $3 position in the first shard behind which to begin, $4 limit. Which ones is read without locks, so that it never waits for a producer's
 * open transaction; those are then locked one by one, and what another claim moved meanwhile is left out.
 */
export const HEAD = `
SELECT head.shard, CAST(head.id AS CHAR) AS position, head.awaits_ack AS awaitsAck, ${selected('head')},
  ${epochMs('UTC_TIMESTAMP(6)')} AS claimedAt
FROM (
  SELECT shard, id FROM lockstep_outbox WHERE ${BEHIND} ORDER BY shard, id LIMIT $4
) found STRAIGHT_JOIN lockstep_outbox head FORCE INDEX (PRIMARY) ON head.shard = found.shard AND head.id = found.id
ORDER BY found.shard, found.id FOR UPDATE`;

/** $1 topics. */
export const CONSUMERS = `
SELECT known.topic, known.consumer, CAST(known.since AS CHAR) AS since FROM ${list('$1', 'one', 'topic')}
STRAIGHT_JOIN lockstep_outbox_subscription known FORCE INDEX (PRIMARY) ON known.topic = one.topic
ORDER BY known.topic, known.consumer`;

const OF_PLACES = (name: string): string => `STRAIGHT_JOIN lockstep_outbox ${name} FORCE INDEX (PRIMARY)
  ON ${name}.shard = place.shard AND ${name}.id = place.position`;

/** $1 places, each with a consumer; $2 ms until overdue, $3 how often it was given out. */
export const MOVE = `
INSERT INTO lockstep_outbox_inflight (${FLYING})
SELECT place.consumer, ${messageOf('moved')}, moved.awaits_ack, moved.published_at, $3, ${inMs('$2')}
FROM ${list('$1', 'place', 'shard', 'position', 'consumer')} ${OF_PLACES('moved')}
${NOTHING_NEW}`;

/** $1 places. */
export const REMOVE = `DELETE gone FROM ${list('$1', 'place', 'shard', 'position')} ${OF_PLACES('gone')}`;

/** $1 places. */
export const LOCK_PLACES = `
SELECT kept.shard FROM ${list('$1', 'place', 'shard', 'position')} ${OF_PLACES('kept')} FOR UPDATE`;
