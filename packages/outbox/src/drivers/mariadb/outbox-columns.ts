// Lists travel as one JSON text each. Rows that were found are looked up by their key from such a list, in its order:
// hence STRAIGHT_JOIN and FORCE INDEX, without which the planner may read, and lock, a whole table for a short list.

const NAME = 'CHARACTER SET ascii COLLATE ascii_nopad_bin';
const TEXT = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin';

/** Columns that an entry of a list may have. Ids are 32 hexadecimal digits. */
const ENTRY = {
  shard: "shard SMALLINT PATH '$.shard'",
  position: "position BIGINT PATH '$.position'",
  awaits_ack: "awaits_ack BOOLEAN PATH '$.awaits_ack'",
  delay_ms: "delay_ms DOUBLE PATH '$.delay_ms'",
  for_ms: "for_ms DOUBLE PATH '$.for_ms'",
  message_id: `message_id CHAR(32) ${NAME} PATH '$.message_id'`,
  topic: `topic VARCHAR(64) ${NAME} PATH '$.topic'`,
  key: `message_key VARCHAR(256) ${TEXT} PATH '$.key'`,
  consumer: `consumer VARCHAR(64) ${NAME} PATH '$.consumer'`,
  payload: `payload LONGTEXT ${TEXT} PATH '$.payload'`,
  headers: `headers LONGTEXT ${TEXT} PATH '$.headers'`,
  published_at: "published_at DOUBLE PATH '$.published_at'",
  wanted: "wanted BIGINT PATH '$.wanted'",
  due_at: "due_at DATETIME(6) PATH '$.due_at'",
  sequence: `sequence VARCHAR(40) ${NAME} PATH '$.sequence'`,
  touched_at: "touched_at DATETIME(6) PATH '$.touched_at'",
} as const;

export type EntryColumn = keyof typeof ENTRY;

/** The list in a parameter, as a table. */
export function list(parameter: string, name: string, ...columns: readonly EntryColumn[]): string {
  return `JSON_TABLE(${parameter}, '$[*]' COLUMNS (${columns.map((column) => ENTRY[column]).join(', ')})) ${name}`;
}

export const MESSAGE = 'message_id, topic, message_key, payload, headers';

/** The columns of a message, of a table that is called like that. */
export const messageOf = (table: string): string => `${table}.${MESSAGE.replaceAll(', ', `, ${table}.`)}`;

export const epochMs = (time: string): string =>
  `CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ${time}) DIV 1000 AS CHAR)`;

export const inMs = (ms: string): string => `UTC_TIMESTAMP(6) + INTERVAL ${ms} * 1000 MICROSECOND`;

/** A message as {@link MessageRow} has it, its id in hexadecimal digits. */
export const selected = (table: string): string => `LOWER(HEX(${table}.message_id)) AS id, ${table}.topic,
  ${table}.message_key AS \`key\`, ${table}.payload, ${table}.headers, ${epochMs(`${table}.published_at`)} AS publishedAt`;

/** Whether the headers have that one. */
export const has = (headers: string, name: string): string => `JSON_EXISTS(${headers}, '$."${name}"')`;
