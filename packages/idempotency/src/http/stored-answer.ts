import { StreamableFile } from '@nestjs/common';

/** Response headers by lower-case name; a list stays a list, because joining would change its meaning. */
export type StoredHeaders = Readonly<Record<string, string | readonly string[]>>;

/** What a handler answered, as far as it can be told again. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: StoredHeaders;
  readonly body: StoredBody;
}

/**
 * - `none`: undefined · `text`: a string · `scalar`: a number, a boolean or null · `bytes`: base64
 * - `json`: an object, or what its `toJSON` says
 * - `error`: the response of an `HttpException`
 * - `unavailable`: a stream, or too large: it was sent, and can never be told again
 */
export type StoredBody =
  | { readonly kind: 'none' | 'unavailable' }
  | { readonly kind: 'json' | 'scalar' | 'error'; readonly value: unknown }
  | { readonly kind: 'text' | 'bytes'; readonly value: string };

/** The body as it is kept. A value that no answer can be made of (a cycle, a bigint) is `unavailable`. */
export function storedBody(value: unknown): StoredBody {
  if (value === undefined) return { kind: 'none' };
  if (typeof value === 'string') return { kind: 'text', value };
  if (value instanceof Uint8Array) return { kind: 'bytes', value: Buffer.from(value).toString('base64') };
  if (typeof value !== 'object' || value === null) return { kind: 'scalar', value };
  return isStream(value) ? { kind: 'unavailable' } : { kind: 'json', value };
}

/** What the handler would have to return for the same answer. */
export function bodyValue(body: StoredBody): unknown {
  switch (body.kind) {
    case 'none':
    case 'unavailable':
      return undefined;
    case 'bytes':
      return Buffer.from(body.value, 'base64');
    case 'json':
      // A date was sent as a JSON string; as a plain string it would be sent as text.
      return typeof body.value === 'object' ? body.value : { toJSON: () => body.value };
    default:
      return body.value;
  }
}

/**
 * The answer as text, at most `maxBytes` long; `unavailable` in place of a larger body or of one that is no JSON.
 *
 * @param onUnavailable hears why a body that should have been stored is not
 */
export function encodeAnswer(
  answer: StoredAnswer,
  maxBytes: number,
  onUnavailable: (reason: string, cause?: unknown) => void,
): string {
  try {
    const text = JSON.stringify(answer);
    if (Buffer.byteLength(text) <= maxBytes) return text;
    onUnavailable(`larger than ${maxBytes} bytes`);
  } catch (cause) {
    onUnavailable('no JSON', cause);
  }
  return JSON.stringify({ ...answer, body: { kind: 'unavailable' } });
}

/** @throws SyntaxError on what was not written by {@link encodeAnswer} */
export function decodeAnswer(text: string): StoredAnswer {
  return JSON.parse(text) as StoredAnswer;
}

/** Also a plain object around a stream: Nest 12 sends the stream in it. */
function isStream(value: object): boolean {
  if (Array.isArray(value)) return false;
  return isStreamItself(value) || Object.values(value).some((item) => typeof item === 'object' && isStreamItself(item));
}

function isStreamItself(value: object | null): boolean {
  if (value === null) return false;
  if (value instanceof StreamableFile || Symbol.asyncIterator in value) return true;
  const tag = Object.prototype.toString.call(value);
  return 'pipe' in value || tag === '[object Response]' || tag === '[object ReadableStream]' || tag === '[object Blob]';
}
