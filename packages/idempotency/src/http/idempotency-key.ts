import { IdempotencyKeyInvalidError } from '../idempotency.errors.js';
import type { KeyFormat } from '../idempotency.options.js';

export interface KeyRules {
  readonly min: number;
  readonly max: number;
  readonly format: KeyFormat;
}

/** A structured-field string may escape every character and carry parameters; more than that is no key. */
const PARAMETER_CHARS = 128;
/** Printable ASCII but space, comma and quote: those come from repeated headers and from half a quoted key. */
const BARE = /^[\x21\x23-\x2b\x2d-\x7e]+$/;
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(.*)$/;
/** Parameters of RFC 8941: allowed, and of no meaning here. */
const PARAMETERS =
  /^(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"|[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+))?)*$/;

const EXPECTED: Record<KeyFormat, string> = {
  lenient: 'must be one token of printable ASCII, or one quoted string',
  strict: 'must be one quoted string of printable ASCII',
};

/**
 * The key in a header's value: a structured-field string (RFC 8941), of which parameters mean nothing, or, where the
 * format is lenient, the same text as a bare token.
 *
 * @param value as the HTTP server gives it: repeated headers are joined by a comma
 * @throws IdempotencyKeyInvalidError
 */
export function parseIdempotencyKey(value: unknown, header: string, rules: KeyRules): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new IdempotencyKeyInvalidError(header, 'must be given once');
  // Before any pattern: what is too long is not even looked at.
  if (value.length > rules.max * 2 + PARAMETER_CHARS) throw tooLong(header, rules);
  const key = value.startsWith('"') ? unquoted(value) : bare(value, rules);
  if (key === undefined) throw new IdempotencyKeyInvalidError(header, EXPECTED[rules.format]);
  if (key.length > rules.max) throw tooLong(header, rules);
  if (key.length < rules.min) {
    throw new IdempotencyKeyInvalidError(header, `must have at least ${rules.min} characters`);
  }
  return key;
}

function bare(value: string, { format }: KeyRules): string | undefined {
  return format === 'lenient' && BARE.test(value) ? value : undefined;
}

function unquoted(value: string): string | undefined {
  const match = QUOTED.exec(value);
  if (!match || !PARAMETERS.test(match[2] ?? '')) return undefined;
  return (match[1] ?? '').replace(/\\(["\\])/g, '$1');
}

function tooLong(header: string, { max }: KeyRules): IdempotencyKeyInvalidError {
  return new IdempotencyKeyInvalidError(header, `must have at most ${max} characters`);
}
