import { Readable } from 'node:stream';
import { StreamableFile } from '@nestjs/common';
import type { SentHead } from './answer-capture.js';

/** Response headers by lower-case name; a list stays a list, because joining would change its meaning. */
export type StoredHeaders = Readonly<Record<string, string | readonly string[]>>;

/** What a handler answered, as far as it can be told again. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: StoredHeaders;
  readonly body: StoredBody;
}

/**
 * - `none`: undefined · `text`: a string · `scalar`: a number, a boolean or null · `bytes`: a Buffer in base64
 * - `number`: one that JSON has no word for, such as NaN
 * - `json`: an object, or what its `toJSON` says
 * - `error`: the response of an `HttpException`
 * - `stream`: the bytes of a stream in base64 · `raw`: bytes in base64 that were written to Node's own response
 * - `unavailable`: too large, or broken off: it was sent, and can never be told again
 */
export type StoredBody =
  | { readonly kind: 'none' | 'unavailable' }
  | { readonly kind: 'json' | 'scalar' | 'error'; readonly value: unknown }
  | { readonly kind: 'text' | 'number' | 'bytes' | 'stream' | 'raw'; readonly value: string };

/** What the handler would have to return for the same answer. */
export function bodyValue({ body, headers }: Pick<StoredAnswer, 'body' | 'headers'>): unknown {
  switch (body.kind) {
    case 'none':
    case 'unavailable':
      return undefined;
    case 'number':
      return Number(body.value);
    case 'bytes':
      return Buffer.from(body.value, 'base64');
    case 'stream':
    case 'raw':
      return body.value === '' ? emptyBody(headers) : new StreamableFile(Buffer.from(body.value, 'base64'));
    case 'json':
      // A date was sent as a JSON string; as a plain string it would be sent as text.
      return typeof body.value === 'object' && body.value !== null ? body.value : { toJSON: () => body.value };
    default:
      return body.value;
  }
}

/** Of a body that is not sent only its length is told, and a server tells its own length of anything but a stream. */
function emptyBody(headers: StoredHeaders): StreamableFile | undefined {
  return headers['content-length'] === undefined ? undefined : new StreamableFile(Readable.from([]));
}

/** What a handler gave: its result, or the response of the `HttpException` that it threw. */
export interface GivenAnswer {
  readonly status: number;
  readonly value: unknown;
  readonly isError: boolean;
}

/**
 * The answer as text; `unavailable` in place of a body that is longer than `maxBytes` as it is sent, or that no JSON can
 * be made of: a cycle, a bigint, a getter that throws.
 *
 * @param onUnavailable hears why a body that should have been stored is not
 */
export function encodeAnswer(
  { status, value, isError }: GivenAnswer,
  headers: StoredHeaders,
  maxBytes: number,
  onUnavailable: (reason: string, cause?: unknown) => void,
): string {
  const start = `{"status":${JSON.stringify(status)},"headers":${JSON.stringify(headers)},"body":`;
  try {
    const { text, bytes } = isError ? encodedJson('error', value) : encodedBody(value);
    if (bytes <= maxBytes) return `${start}${text}}`;
    onUnavailable(`larger than ${maxBytes} bytes`);
  } catch (cause) {
    onUnavailable('no JSON', cause);
  }
  return `${start}${UNAVAILABLE.text}}`;
}

/** An answer that is known by its bytes. */
export function encodeBytes(kind: 'stream' | 'raw', { status, headers }: SentHead, bytes: Buffer): string {
  return JSON.stringify({ status, headers, body: { kind, value: bytes.toString('base64') } } satisfies StoredAnswer);
}

/** An answer of which nothing is known but that there was one. */
export function encodeUnavailable(status: number): string {
  return JSON.stringify({ status, headers: {}, body: { kind: 'unavailable' } } satisfies StoredAnswer);
}

/** @throws SyntaxError on what was not written by {@link encodeAnswer} */
export function decodeAnswer(text: string): StoredAnswer {
  return JSON.parse(text) as StoredAnswer;
}

/** A {@link StoredBody} as text, and how many bytes of it are sent. */
interface EncodedBody {
  readonly text: string;
  readonly bytes: number;
}

const NONE: EncodedBody = { text: '{"kind":"none"}', bytes: 0 };
const UNAVAILABLE: EncodedBody = { text: '{"kind":"unavailable"}', bytes: 0 };

function encodedBody(value: unknown): EncodedBody {
  if (value === undefined) return NONE;
  // Servers make text, nothing or a 500 of them, each in its own way.
  if (typeof value === 'function' || typeof value === 'symbol' || value instanceof Error) {
    throw new TypeError(`A handler returned ${value instanceof Error ? 'an error' : `a ${typeof value}`}`);
  }
  if (typeof value === 'string') return { ...encodedJson('text', value), bytes: Buffer.byteLength(value) };
  if (Buffer.isBuffer(value)) {
    return { ...encodedJson('bytes', value.toString('base64')), bytes: value.byteLength };
  }
  // JSON has no word for it, and a server sends it as text.
  if (typeof value === 'number' && !Number.isFinite(value)) return encodedJson('number', String(value));
  if (typeof value !== 'object' || value === null) return encodedJson('scalar', value);
  return encodedJson('json', value);
}

function encodedJson(kind: StoredBody['kind'], value: unknown): EncodedBody {
  // Undefined for what JSON has no word for; an object without the property comes back the same.
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) return { text: `{"kind":"${kind}"}`, bytes: 0 };
  return { text: `{"kind":"${kind}","value":${json}}`, bytes: Buffer.byteLength(json) };
}

/**
 * Whether only what is sent tells what a value is as an answer: a stream, also in a plain object, where Nest 12 may send
 * the stream in it; and views on memory, which are bytes to one server and objects to the other.
 */
export function isStreaming(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) return false;
  try {
    return (
      isStreamItself(value) || Object.values(value).some((item) => typeof item === 'object' && isStreamItself(item))
    );
  } catch {
    // It throws when it is looked at; what it is as JSON is found out, and reported, where it is encoded.
    return false;
  }
}

function isStreamItself(value: object | null): boolean {
  if (value === null) return false;
  if (value instanceof StreamableFile || ArrayBuffer.isView(value) || Symbol.asyncIterator in value) return true;
  const tag = Object.prototype.toString.call(value);
  return 'pipe' in value || tag === '[object Response]' || tag === '[object ReadableStream]' || tag === '[object Blob]';
}
