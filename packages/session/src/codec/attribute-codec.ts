import { SessionMisuseError } from '../session.errors.js';

/** Marks a value that JSON does not know: `{ "$t": "date", "v": "2026-01-01T00:00:00.000Z" }`. */
const TAG = '$t';
const NEEDS_REVIVAL = /"(?:\$t|__proto__)"\s*:|\\u/;

type Tagged = { readonly [TAG]: string; readonly v: unknown };

/**
 * JSON that keeps `Date`, `Map`, `Set`, `bigint`, bytes (as `Buffer`), `NaN`, the infinities and -0. Instances of other
 * classes become plain objects, and undefined in a list null, as in JSON. A property named `__proto__` is refused on the way in and left out on the way back.
 *
 * @throws SessionMisuseError for what cannot be kept: functions, symbols, cycles
 */
export function encodeAttribute(name: string, value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value, replacer);
  } catch (cause) {
    throw new SessionMisuseError(`The value of session attribute '${name}' cannot be kept: ${messageOf(cause)}`);
  }
  if (text === undefined) throw new SessionMisuseError(`The value of session attribute '${name}' cannot be kept`);
  return text;
}

/** @throws SyntaxError, TypeError or RangeError for what was not encoded here */
export function decodeAttribute(text: string): unknown {
  return NEEDS_REVIVAL.test(text) ? JSON.parse(text, reviver) : JSON.parse(text);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'it is not JSON';
}

/** `value` has been through `toJSON` already, which the Dates and Buffers among the originals have. */
function replacer(this: unknown, key: string, value: unknown): unknown {
  if (typeof value === 'function' || typeof value === 'symbol')
    throw new TypeError(`${key || 'it'} is a ${typeof value}`);
  if (typeof value === 'number') return taggedNumber(value);
  const original = (this as Record<string, unknown>)[key];
  // Many give bigint a `toJSON` of their own.
  if (typeof original === 'bigint') return tagged('bigint', String(original));
  const kept = original instanceof Date || original instanceof Uint8Array ? original : value;
  if (typeof kept === 'bigint') return tagged('bigint', String(kept));
  if (typeof kept !== 'object' || kept === null) return kept;
  if (kept instanceof Date) return tagged('date', Number.isNaN(kept.getTime()) ? null : kept.toISOString());
  if (kept instanceof Uint8Array) return tagged('bytes', Buffer.from(kept).toString('base64'));
  if (kept instanceof Map) return tagged('map', [...kept]);
  if (kept instanceof Set) return tagged('set', [...kept]);
  if (Object.hasOwn(kept, '__proto__')) throw new TypeError('a property is named __proto__');
  // A property that is undefined is left out, as in any other object.
  const entries = Object.hasOwn(kept, TAG) && Object.entries(kept).filter(([, one]) => one !== undefined);
  return entries ? tagged('object', entries) : kept;
}

function taggedNumber(value: number): number | Tagged {
  if (Object.is(value, -0)) return tagged('number', '-0');
  return Number.isFinite(value) ? value : tagged('number', String(value));
}

function tagged(type: string, v: unknown): Tagged {
  return { [TAG]: type, v };
}

function reviver(key: string, value: unknown): unknown {
  // Undefined deletes the property.
  if (key === '__proto__') return undefined;
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, TAG)) return value;
  const { [TAG]: type, v } = value as Tagged;
  switch (type) {
    case 'date':
      return new Date(v === null ? Number.NaN : text(v));
    case 'bytes':
      return Buffer.from(text(v), 'base64');
    case 'bigint':
      return BigInt(text(v));
    case 'number':
      return Number(text(v));
    case 'map':
      return new Map(pairs(v));
    case 'set':
      return new Set(list(v));
    case 'object':
      return Object.fromEntries(
        pairs(v)
          .map(([name, one]) => [text(name), one] as const)
          .filter(([name]) => name !== '__proto__'),
      );
    default:
      throw new TypeError(`Unknown type ${String(type)} in a session attribute`);
  }
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new TypeError('A text is missing in a session attribute');
}

function list(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw new TypeError('A list is missing in a session attribute');
}

function pairs(value: unknown): [unknown, unknown][] {
  return list(value).map((pair) => {
    const [first, second] = list(pair);
    return [first, second];
  });
}
