import { v7 as uuidv7 } from 'uuid';
import type { Message, MessageEnvelope, OutgoingMessage } from './message.js';
import { encodeBody } from './message-body.js';
import { headersFault, IN_REPLY_TO_HEADER, joinedHeaders } from './message-headers.js';
import { isName, NAME_RULE, OWN_TOPICS } from './message-names.js';
import { isStorable, UNSTORABLE } from './message-text.js';
import { MessageInvalidError } from './outbox.errors.js';

const MAX_KEY_CHARS = 256;
const NAMES: ReadonlySet<string> = new Set<keyof OutgoingMessage>([
  'topic',
  'body',
  'key',
  'delay',
  'ordered',
  'callback',
  'headers',
]);

/**
 * A checked message with its id and JSON text.
 *
 * @param ownHeaders those of Lockstep and of the context
 * @throws MessageInvalidError
 */
export function encodeMessage(
  message: OutgoingMessage,
  ownHeaders: Readonly<Record<string, string>>,
  maxBytes: number,
): Omit<MessageEnvelope, 'publishedAt'> {
  if (!isObject(message)) throw new MessageInvalidError(undefined, 'it is no object with topic and body');
  const { topic, body, key, headers = {} } = message;
  if (!isName(topic)) throw new MessageInvalidError(topic, `a topic has ${NAME_RULE}`);
  if (topic.startsWith(OWN_TOPICS)) throw new MessageInvalidError(topic, `topics below '${OWN_TOPICS}' are reserved`);
  const fault = unknownFault(message) ?? keyFault(key) ?? headersFault(headers);
  if (fault !== undefined) throw new MessageInvalidError(topic, fault);
  const allHeaders = joinedHeaders(headers, ownHeaders);
  for (const [name, value] of Object.entries(allHeaders)) {
    if (!isStorable(value)) throw new MessageInvalidError(topic, `header '${name}' has ${UNSTORABLE}`);
  }
  const payload = encodeBody(topic, body);
  const bytes = Buffer.byteLength(payload) + Buffer.byteLength(JSON.stringify(allHeaders));
  if (bytes > maxBytes)
    throw new MessageInvalidError(topic, `it has ${bytes} bytes and maxMessageBytes is ${maxBytes}`);
  return { id: uuidv7(), topic, key, payload, headers: allHeaders };
}

/** @throws SyntaxError when the payload is no JSON */
export function decodeMessage({ id, topic, key, payload, headers, publishedAt }: MessageEnvelope): Message {
  const body: unknown = JSON.parse(payload);
  // By name: to copy the rest of an object costs more than to parse a small body.
  return { id, topic, key, body, headers, publishedAt, inReplyTo: headers[IN_REPLY_TO_HEADER] };
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** A `delay` that is mistyped would let the message out at once. */
function unknownFault(message: OutgoingMessage): string | undefined {
  for (const name of Object.keys(message)) if (!NAMES.has(name)) return `'${name}' is no option of a message`;
  return undefined;
}

function keyFault(key: unknown): string | undefined {
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || key.length < 1 || key.length > MAX_KEY_CHARS) {
    return `its key is no text of 1 to ${MAX_KEY_CHARS} characters`;
  }
  return isStorable(key) ? undefined : `its key has ${UNSTORABLE}`;
}
