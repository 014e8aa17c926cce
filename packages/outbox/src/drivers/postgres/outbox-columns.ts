import { SEQUENCE_HEADER } from '../../message-headers.js';

// Lists travel as one JSON text each: every client library can bind a text, few agree on arrays. Statements that end by
// themselves use now(): it stays what it is within the statement, so that an index can be searched by it.

export const MESSAGE_FIELDS = 'message_id uuid, topic text, key text, payload text, headers text';
export const MESSAGE = 'message_id, topic, key, payload, headers';
export const SELECTED = `message_id::text AS "id", topic, key, payload, headers,
  floor(extract(epoch FROM published_at) * 1000)::text AS "publishedAt"`;

/** Whether the headers have that one. With the colon: without it, a value that reads like the name would do. */
export const has = (header: string): string => `headers LIKE '%"${header}":%'`;
export const STRICT = has(SEQUENCE_HEADER);
