import { v7 as uuidv7 } from 'uuid';
import type { Message, MessageEnvelope, OutgoingMessage } from './message.js';
import { headersFault } from './message-headers.js';
import { isName, NAME_RULE, OWN_TOPICS } from './message-names.js';
import { MessageInvalidError } from './outbox.errors.js';

const MAX_KEY_CHARS = 256;
const HALF_A_SURROGATE_PAIR = /\p{Cs}/u;

/**
 * A checked message with its id and JSON text.
 *
 * @param ownHeaders those of Lockstep and of the context
 * @throws MessageInvalidError
 */
export function encodeMessage(
  { topic, body, key, headers = {} }: OutgoingMessage,
  ownHeaders: Readonly<Record<string, string>>,
  maxBytes: number,
): Omit<MessageEnvelope, 'publishedAt'> {
  if (!isName(topic)) throw new MessageInvalidError(topic, `a topic has ${NAME_RULE}`);
  if (topic.startsWith(OWN_TOPICS)) throw new MessageInvalidError(topic, `topics below '${OWN_TOPICS}' are reserved`);
  const fault = keyFault(key) ?? headersFault(headers);
  if (fault !== undefined) throw new MessageInvalidError(topic, fault);
  const allHeaders = { ...headers, ...ownHeaders };
  const payload = encodeBody(topic, body);
  const bytes = Buffer.byteLength(payload) + Buffer.byteLength(JSON.stringify(allHeaders));
  if (bytes > maxBytes)
    throw new MessageInvalidError(topic, `it has ${bytes} bytes and maxMessageBytes is ${maxBytes}`);
  return { id: uuidv7(), topic, key, payload, headers: allHeaders };
}

/** @throws SyntaxError when the payload is no JSON */
export function decodeMessage({ payload, ...rest }: MessageEnvelope): Message {
  return { ...rest, body: JSON.parse(payload) as unknown };
}

function keyFault(key: unknown): string | undefined {
  if (key === undefined) return undefined;
  const fits = typeof key === 'string' && key.length >= 1 && key.length <= MAX_KEY_CHARS && isStorable(key);
  return fits ? undefined : `its key is no text of 1 to ${MAX_KEY_CHARS} characters`;
}

/** NUL and halves of characters fit into no database's text. */
function isStorable(text: string): boolean {
  return !text.includes('\0') && !HALF_A_SURROGATE_PAIR.test(text);
}

function encodeBody(topic: string, body: unknown): string {
  let payload: string | undefined;
  try {
    payload = JSON.stringify(body, refuseWhatJsonLoses);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MessageInvalidError(topic, `its body is no JSON: ${reason}`, cause);
  }
  if (payload === undefined) throw new MessageInvalidError(topic, 'its body is undefined');
  return payload;
}

/** JSON would drop these, or write something else in their place, and nobody would hear of it. */
function refuseWhatJsonLoses(this: unknown, name: string, value: unknown): unknown {
  const lost =
    typeof value === 'function' ||
    typeof value === 'symbol' ||
    typeof value === 'bigint' ||
    (typeof value === 'number' && !Number.isFinite(value)) ||
    (value === undefined && Array.isArray(this)) ||
    value instanceof Map ||
    value instanceof Set;
  if (!lost) return value;
  throw new TypeError(`${name === '' ? 'it' : `'${name}'`} is ${describe(value)}`);
}

function describe(value: unknown): string {
  if (typeof value === 'number') return String(value);
  return typeof value === 'object' ? `a ${value instanceof Map ? 'Map' : 'Set'}` : `of type ${typeof value}`;
}
