import type { MessageEnvelope } from '@lockstep/outbox';

const VERSION = 1;
const LINE_END = 0x0a;
/** UTF-8 has no form for half of a surrogate pair: it would arrive as another character. */
const HALF_A_PAIR = /\p{Surrogate}/u;

type Heading = [
  version: number,
  id: string,
  topic: string,
  key: string | null,
  headers: MessageEnvelope['headers'],
  publishedAt: number,
];

/** A message that this version cannot read: written by a newer one, or by somebody else. */
export class UnreadableMessageError extends Error {
  override readonly name = 'UnreadableMessageError';
}

/** The reason why a message has no form in which it would arrive as it is, if there is one. */
export function unwritable({ payload }: MessageEnvelope): string | undefined {
  return HALF_A_PAIR.test(payload) ? 'the payload contains half of a surrogate pair' : undefined;
}

/**
 * A line of JSON with everything but the payload, then the payload as it is: JSON within JSON would be escaped and grow
 * by a fifth.
 */
export function encodeMessage({ id, topic, key, payload, headers, publishedAt }: MessageEnvelope): Uint8Array {
  const heading: Heading = [VERSION, id, topic, key ?? null, headers, publishedAt];
  return Buffer.from(`${JSON.stringify(heading)}\n${payload}`);
}

/** @throws UnreadableMessageError */
export function decodeMessage(data: Uint8Array): MessageEnvelope {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const end = bytes.indexOf(LINE_END);
  const heading = headingOf(bytes.toString('utf8', 0, Math.max(end, 0)));
  const [, id, topic, key, headers, publishedAt] = heading;
  return { id, topic, key: key ?? undefined, payload: bytes.toString('utf8', end + 1), headers, publishedAt };
}

function headingOf(line: string): Heading {
  let heading: unknown;
  try {
    heading = JSON.parse(line);
  } catch (cause) {
    throw new UnreadableMessageError('the message has no heading', { cause });
  }
  if (Array.isArray(heading) && heading[0] === VERSION) return heading as Heading;
  throw new UnreadableMessageError('the message is not in a form that this version reads');
}
