import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAttribute, encodeAttribute } from '../dist/codec/attribute-codec.js';

const RUNS = { numRuns: 1_000 };

const keyOfObject = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('$t', 'v', 'constructor', 'prototype', 'toString', 'toJSON', 'hasOwnProperty', 'length'),
);
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('$t', '"$t":', '{"$t":"date","v":"x"}', '\ud800', '\udfff\ud800', '\\u', '\u2028', '__proto__'),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);

/** Everything that an attribute keeps, within each other. */
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(
      text,
      fc.double(),
      fc.constantFrom(0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.MAX_SAFE_INTEGER),
      fc.boolean(),
      fc.constant(null),
      fc.bigInt(),
      fc.date({ noInvalidDate: true }),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    ),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(keyOfObject, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    fc.array(tie('value'), { maxLength: 4 }).map((members) => new Set(members)),
  ),
}));

describe('an attribute', () => {
  it('comes back as it was set, whatever it is made of', () => {
    fc.assert(
      fc.property(value, (one) => {
        fc.pre(!hasUnkeepableKey(one));
        const encoded = encodeAttribute('a', one);
        const decoded = decodeAttribute(encoded);
        // That of vitest stumbles over properties named `constructor`.
        expect(isDeepStrictEqual(decoded, one)).toBe(true);
        // What is only read must not look as if it had been changed.
        expect(encodeAttribute('a', decoded)).toBe(encoded);
      }),
      RUNS,
    );
  });

  it('keeps what JSON loses: -0, NaN, an invalid date, lone surrogates, and objects that look like its own marks', () => {
    const marks = { $t: 'date', v: 'no date', nested: { $t: { $t: 1 } } };
    const all = {
      zero: -0,
      nan: [Number.NaN],
      at: new Date(Number.NaN),
      lone: '\ud800x',
      marks,
      deep: new Map([[marks, new Set([marks])]]),
    };
    expect(decodeAttribute(encodeAttribute('a', all))).toStrictEqual(all);
    expect(decodeAttribute(encodeAttribute('a', -0))).toBe(-0);
    expect(decodeAttribute(encodeAttribute('a', { $t: 1, none: undefined }))).toStrictEqual({ $t: 1 });
    const odd = { toJSON: () => new Date(0) };
    expect(decodeAttribute(encodeAttribute('a', odd))).toStrictEqual(new Date(0));
  });

  it('that cannot be kept is refused when it is set, and says why', () => {
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    const inMap = new Map<string, unknown>();
    inMap.set('self', inMap);
    const values = [
      undefined,
      () => 1,
      Symbol('s'),
      { f: () => 1 },
      [Symbol('s')],
      new Map([['f', () => 1]]),
      cycle,
      inMap,
    ];
    for (const one of values)
      expect(() => encodeAttribute('cart', one)).toThrow(/session attribute 'cart' cannot be kept/);
    const polluting = JSON.parse('{"a":[{"__proto__":{"isAdmin":true}}]}') as unknown;
    expect(() => encodeAttribute('cart', polluting)).toThrow(/__proto__/);
  });

  it('pollutes no prototype, however the stored text was planted', () => {
    for (const planted of [
      '{"__proto__":{"isAdmin":true}}',
      '{"\\u005f_proto__":{"isAdmin":true}}',
      '{"a":{"__proto__":{"isAdmin":true}},"constructor":{"prototype":{"isAdmin":true}}}',
      '{"$t":"object","v":[["__proto__",{"isAdmin":true}]]}',
      '{"$t":"map","v":[["__proto__",{"isAdmin":true}]]}',
      '{"__proto__":{"$t":"map","v":[]}}',
    ]) {
      const decoded = decodeAttribute(planted) as object;
      expect(Object.hasOwn(decoded, '__proto__')).toBe(false);
      expect(Object.assign({}, decoded)).not.toHaveProperty('isAdmin');
      expect({}).not.toHaveProperty('isAdmin');
    }
    expect(() => decodeAttribute('{"$t":"object","v":[[["__proto__"],{"isAdmin":true}]]}')).toThrow(TypeError);
  });

  it('of any text is a value or an error that is caught, never a hang or another kind of failure', () => {
    const tagged = fc
      .tuple(fc.constantFrom('date', 'bytes', 'bigint', 'number', 'map', 'set', 'object', 'other', 7), fc.jsonValue())
      .map(([type, v]) => JSON.stringify({ $t: type, v }));
    fc.assert(
      fc.property(fc.oneof(fc.json(), tagged, fc.string()), (planted) => {
        try {
          decodeAttribute(planted);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
      RUNS,
    );
    const deep = '['.repeat(200_000) + ']'.repeat(200_000);
    for (const planted of [deep, `{"$t":"set","v":${deep}}`]) {
      try {
        decodeAttribute(planted);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }
  });
});

/** Refused on the way in, which a test of its own shows. */
function hasUnkeepableKey(one: unknown): boolean {
  if (typeof one !== 'object' || one === null) return false;
  if (one instanceof Map) return [...one].flat().some(hasUnkeepableKey);
  if (one instanceof Set || Array.isArray(one)) return [...one].some(hasUnkeepableKey);
  if (one instanceof Date || one instanceof Uint8Array) return false;
  return Object.hasOwn(one, '__proto__') || Object.values(one).some(hasUnkeepableKey);
}
