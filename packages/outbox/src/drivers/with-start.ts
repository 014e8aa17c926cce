import type { MessageEnvelope } from '../message.js';
import { SEQUENCE_HEADER, SEQUENCE_START_HEADER } from '../message-headers.js';

/** A strict message of a key that is older than the subscription tells its consumer where to begin. */
export function withStart(message: MessageEnvelope, start: string | null | undefined): MessageEnvelope {
  if (start == null || message.headers[SEQUENCE_HEADER] === undefined) return message;
  return { ...message, headers: { ...message.headers, [SEQUENCE_START_HEADER]: start } };
}
