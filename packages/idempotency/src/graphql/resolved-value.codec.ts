import type { ResultCodec } from '../method/method-types.js';

/** Marks what JSON has no word for; an object that has such a key itself is marked too. */
const MARK = '$';

/**
 * Keeps what a resolver gave. Scalars turn dates and bigints into text only after it, and make `null` of anything else in
 * their place, so JSON alone would answer a repetition with holes.
 *
 * @throws TypeError from `encode` on what would come back without its fields: an object with getters or methods, a
 * promise, a function
 */
export const resolvedValueCodec: ResultCodec<unknown> = {
  // An object around it, because JSON has no word for undefined.
  encode: (value) => JSON.stringify({ value: packed(value) }),
  decode: (text) => unpacked((JSON.parse(text) as { readonly value?: unknown }).value),
};

function packed(value: unknown): unknown {
  if (typeof value === 'bigint') return { $bigint: String(value) };
  if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError(`A ${typeof value} is no data`);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return { $date: value.getTime() };
  if (Array.isArray(value)) return value.map(packed);
  assertPlain(value);
  const object = mapped(value, packed);
  return Object.keys(object).some((name) => name.startsWith(MARK)) ? { $object: object } : object;
}

function unpacked(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(unpacked);
  const { $bigint, $date, $object } = value as { $bigint?: string; $date?: number | null; $object?: object };
  if ($bigint !== undefined) return BigInt($bigint);
  if ($date !== undefined) return new Date($date ?? Number.NaN);
  return mapped($object ?? value, unpacked);
}

function mapped(object: object, fn: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, fn(value)]));
}

/** A field may be answered by a getter or a method of its class, which data does not have. */
function assertPlain(value: object): void {
  for (
    let at = Object.getPrototypeOf(value) as object | null;
    at && at !== Object.prototype;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    if (Reflect.ownKeys(at).some((key) => key !== 'constructor')) {
      throw new TypeError(`A ${at.constructor.name} has getters or methods; let the resolver return plain data`);
    }
  }
}
