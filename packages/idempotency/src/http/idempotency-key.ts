import { IdempotencyKeyInvalidError } from '../idempotency.errors.js';

export interface KeyBounds {
  readonly min: number;
  readonly max: number;
}

/** A structured-field string may escape every character and carry parameters; more than that is no key. */
const PARAMETER_CHARS = 128;
/** Printable ASCII but space, comma and quote: those come from repeated headers and from half a quoted key. */
const BARE = /^[\x21\x23-\x2b\x2d-\x7e]+$/;
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(.*)$/;
/** Parameters of RFC 8941: allowed, and of no meaning here. */
const PARAMETERS = /^(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[^"\\]|\\["\\])*"|[^",; ]+))?)*$/;

/**
 * The key in a header's value. A bare token and the same text as a structured-field string (RFC 8941) are one key.
 *
 * @param value as the HTTP server gives it: repeated headers are joined by a comma
 * @throws IdempotencyKeyInvalidError
 */
export function parseIdempotencyKey(value: unknown, header: string, bounds: KeyBounds): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new IdempotencyKeyInvalidError(header, 'must be given once');
  // Before any pattern: what is too long is not even looked at.
  if (value.length > bounds.max * 2 + PARAMETER_CHARS) throw tooLong(header, bounds);
  const key = value.startsWith('"') ? unquoted(value) : BARE.test(value) ? value : undefined;
  if (key === undefined) {
    throw new IdempotencyKeyInvalidError(header, 'must be one token of printable ASCII, or one quoted string');
  }
  if (key.length > bounds.max) throw tooLong(header, bounds);
  if (key.length < bounds.min) {
    throw new IdempotencyKeyInvalidError(header, `must have at least ${bounds.min} characters`);
  }
  return key;
}

function unquoted(value: string): string | undefined {
  const match = QUOTED.exec(value);
  if (!match || !PARAMETERS.test(match[2] ?? '')) return undefined;
  return (match[1] ?? '').replace(/\\(["\\])/g, '$1');
}

function tooLong(header: string, { max }: KeyBounds): IdempotencyKeyInvalidError {
  return new IdempotencyKeyInvalidError(header, `must have at most ${max} characters`);
}
