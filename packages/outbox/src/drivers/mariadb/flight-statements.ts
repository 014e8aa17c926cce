import { inMs, list, MESSAGE, messageOf, selected } from './outbox-columns.js';

export const FLYING = `consumer, ${MESSAGE}, awaits_ack, published_at, deliveries, redeliver_at`;

/** What flies already stays as it is. */
export const NOTHING_NEW =
  'ON DUPLICATE KEY UPDATE lockstep_outbox_inflight.deliveries = lockstep_outbox_inflight.deliveries';

/** Who routes messages holds it, beside others who do, until his transaction ends. */
export const SHARE_GATE = 'SELECT id FROM lockstep_outbox_gate WHERE id = 1 LOCK IN SHARE MODE';

/** Who changes subscriptions holds it alone: nobody is between the routes of a message and what they are told. */
export const CLOSE_GATE = 'INSERT INTO lockstep_outbox_gate (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 1';

const DUE = `
  SELECT consumer, message_id, redeliver_at FROM lockstep_outbox_inflight FORCE INDEX (lockstep_outbox_inflight_overdue)
  WHERE redeliver_at <= UTC_TIMESTAMP(6) ORDER BY redeliver_at LIMIT $1`;

/** $1 limit. What is overdue, and whether it is parked while its topic has consumers. Locks nothing. */
export const FIND_DUE = `
SELECT due.consumer, LOWER(HEX(due.message_id)) AS message_id, due.consumer = '' AND EXISTS (
    SELECT 1 FROM lockstep_outbox_subscription known WHERE known.topic = parked.topic) AS routable
FROM (${DUE}) due LEFT JOIN lockstep_outbox_inflight parked FORCE INDEX (PRIMARY)
  ON due.consumer = '' AND parked.consumer = '' AND parked.message_id = due.message_id
ORDER BY due.consumer, due.message_id`;

const FLIGHTS = (name: string, ...further: readonly 'for_ms'[]): string =>
  `${list('$1', 'one', 'consumer', 'message_id', ...further)} STRAIGHT_JOIN lockstep_outbox_inflight ${name}
  FORCE INDEX (PRIMARY) ON ${name}.consumer = one.consumer AND ${name}.message_id = UNHEX(one.message_id)`;

/** $1 flights. Those of them that nobody else has in hand and that are still overdue. */
export const LOCK_DUE = `
SELECT again.consumer, again.awaits_ack AS awaitsAck, again.deliveries + 1 AS deliveries, ${selected('again')}
FROM ${FLIGHTS('again')}
WHERE again.redeliver_at <= UTC_TIMESTAMP(6) FOR UPDATE SKIP LOCKED`;

/** $1 flights, $2 first pause in ms, $3 longest pause in ms. Assignments take effect from left to right. */
export const PUT_OFF = `
UPDATE ${FLIGHTS('again')}
SET again.redeliver_at = ${inMs('LEAST($2 * POW(2, LEAST(again.deliveries, 30)), $3)')},
  again.deliveries = again.deliveries + 1`;

/**
 * $1 parked flights. In flight for every consumer, ahead of all that is due: behind the other parked ones they would wait
 * for those to be mentioned.
 */
export const ROUTE = `
INSERT INTO lockstep_outbox_inflight (${FLYING})
SELECT known.consumer, ${messageOf('parked')}, parked.awaits_ack, parked.published_at, 0, '1970-01-01'
FROM ${FLIGHTS('parked')}
STRAIGHT_JOIN lockstep_outbox_subscription known FORCE INDEX (PRIMARY) ON known.topic = parked.topic
${NOTHING_NEW}`;

/** $1 flights. */
export const LAND = `DELETE landed FROM ${FLIGHTS('landed')}`;

/** $1 flights, each with `for_ms`. */
export const WAITING = `
UPDATE ${FLIGHTS('again', 'for_ms')}
SET again.redeliver_at = GREATEST(again.redeliver_at, ${inMs('one.for_ms')})`;

/** $1 consumer, $2 message id. */
export const LOCK_FLIGHT = `
SELECT ${selected('flight')} FROM lockstep_outbox_inflight flight
WHERE flight.consumer = $1 AND flight.message_id = UNHEX($2) FOR UPDATE`;

/** $1 consumer, $2 message id. */
export const IS_DEAD = 'SELECT 1 AS dead FROM lockstep_outbox_dead WHERE message_id = UNHEX($2) AND consumer = $1';

/** $1 consumer, $2 error, $3 a list of one message, whose `published_at` is in epoch milliseconds. */
export const BURY = `
INSERT INTO lockstep_outbox_dead (consumer, error, ${MESSAGE}, published_at)
SELECT $1, $2, UNHEX(message_id), topic, message_key, payload, headers,
  '1970-01-01' + INTERVAL published_at * 1000 MICROSECOND
FROM ${list('$3', 'message', 'message_id', 'topic', 'key', 'payload', 'headers', 'published_at')}`;

/** $1 consumer, $2 message id, $3 error. As it is: a time in milliseconds would be a shorter one. */
export const BURY_FLIGHT = `
INSERT INTO lockstep_outbox_dead (consumer, error, ${MESSAGE}, published_at)
SELECT $1, $3, ${messageOf('flight')}, flight.published_at FROM lockstep_outbox_inflight flight
WHERE flight.consumer = $1 AND flight.message_id = UNHEX($2)`;

/** $1 consumer, $2 a list of one message. Published now, due at once. */
export const NOTIFY = `
INSERT INTO lockstep_outbox_inflight (${FLYING})
SELECT $1, UNHEX(message_id), topic, message_key, payload, headers, TRUE, UTC_TIMESTAMP(6), 0, UTC_TIMESTAMP(6)
FROM ${list('$2', 'message', 'message_id', 'topic', 'key', 'payload', 'headers')}
${NOTHING_NEW}`;
