import { SessionMisuseError } from '../session.errors.js';

/** Marks a value that JSON does not know: `{ "$t": "date", "v": "2026-01-01T00:00:00.000Z" }`. */
const TAG = '$t';
const NEEDS_REVIVAL = /"(?:\$t|__proto__)"\s*:|\\u/;

type Tagged = { readonly [TAG]: string; readonly v: unknown };

/**
 * JSON that keeps `Date`, `Map`, `Set`, `bigint`, bytes, `NaN` and the infinities. Instances of other classes become
 * plain objects, as in JSON. A property named `__proto__` is refused on the way in and left out on the way back.
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
  const original = (this as Record<string, unknown>)[key];
  if (typeof value === 'function' || typeof value === 'symbol')
    throw new TypeError(`${key || 'it'} is a ${typeof value}`);
  if (typeof value === 'bigint') return tagged('bigint', String(value));
  if (typeof value === 'number' && !Number.isFinite(value)) return tagged('number', String(value));
  if (typeof original !== 'object' || original === null) return value;
  if (original instanceof Date) {
    return tagged('date', Number.isNaN(original.getTime()) ? null : original.toISOString());
  }
  if (original instanceof Uint8Array) return tagged('bytes', Buffer.from(original).toString('base64'));
  if (original instanceof Map) return tagged('map', [...original]);
  if (original instanceof Set) return tagged('set', [...original]);
  if (typeof value !== 'object' || value === null) return value;
  if (Object.hasOwn(value, '__proto__')) throw new TypeError('a property is named __proto__');
  return Object.hasOwn(value, TAG) ? tagged('object', Object.entries(value)) : value;
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
      return new Date(v === null ? Number.NaN : (v as string));
    case 'bytes':
      return Buffer.from(v as string, 'base64');
    case 'bigint':
      return BigInt(v as string);
    case 'number':
      return Number(v);
    case 'map':
      return new Map(v as [unknown, unknown][]);
    case 'set':
      return new Set(v as unknown[]);
    case 'object':
      return Object.fromEntries((v as [string, unknown][]).filter(([name]) => name !== '__proto__'));
    default:
      throw new TypeError(`Unknown type ${type} in a session attribute`);
  }
}
