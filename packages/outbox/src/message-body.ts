import { types } from 'node:util';
import { messageOfThrown } from '@lockstep/core';
import { MessageInvalidError } from './outbox.errors.js';

/**
 * The body as JSON text.
 *
 * @throws MessageInvalidError naming the place of what JSON would lose
 */
export function encodeBody(topic: string, body: unknown): string {
  let payload: string | undefined;
  try {
    payload = JSON.stringify(body, refusal());
  } catch (cause) {
    throw new MessageInvalidError(topic, `its body is no JSON: ${messageOfThrown(cause)}`, cause);
  }
  if (payload === undefined) throw new MessageInvalidError(topic, 'its body is undefined');
  return payload;
}

/** JSON would drop some values, or write something else in their place, and nobody would hear of it. */
function refusal(): (this: unknown, name: string, value: unknown) => unknown {
  const paths = new Map<unknown, string>();
  return function (name, value) {
    const what = lossOf(value, this, name);
    const isObject = typeof value === 'object' && value !== null;
    if (what === undefined && !isObject) return value;
    const path = pathOf(paths.get(this) ?? '', name, this);
    if (what !== undefined) throw new TypeError(`${path === '' ? 'it' : `'${path}'`} is ${what}`);
    paths.set(value, path);
    return value;
  };
}

function pathOf(parent: string, name: string, holder: unknown): string {
  if (Array.isArray(holder)) return `${parent}[${name}]`;
  return parent === '' ? name : `${parent}.${name}`;
}

/** What JSON would lose, in words. `value` is what `toJSON` gave, so whatever has a `toJSON` of its own is fine. */
function lossOf(value: unknown, holder: unknown, name: string): string | undefined {
  switch (typeof value) {
    case 'function':
    case 'symbol':
    case 'bigint':
      return `of type ${typeof value}`;
    case 'number':
      return Number.isFinite(value) ? undefined : String(value);
    case 'undefined':
      return Array.isArray(holder) ? 'of type undefined' : undefined;
    case 'object':
      if (value === null) return isDate((holder as Record<string, unknown>)[name]) ? 'an invalid Date' : undefined;
      return isPlain(value) ? undefined : lossOfObject(value);
    default:
      return undefined;
  }
}

function isPlain(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}

function isDate(value: unknown): boolean {
  return types.isDate(value);
}

const LOST: readonly (readonly [kind: string, is: (value: unknown) => boolean])[] = [
  ['a Map', types.isMap],
  ['a Set', types.isSet],
  ['a WeakMap', types.isWeakMap],
  ['a WeakSet', types.isWeakSet],
  ['a WeakRef', (value) => value instanceof WeakRef],
  ['a RegExp', types.isRegExp],
  ['an Error', types.isNativeError],
  ['a buffer without toJSON', (value) => ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)],
  ['a boxed symbol', types.isSymbolObject],
  ['a generator', types.isGeneratorObject],
  // Promises, and the queries of libraries, which run when they are awaited.
  ['a Promise (is an await missing?)', (value) => typeof (value as { then?: unknown }).then === 'function'],
];

function lossOfObject(value: object): string | undefined {
  return LOST.find(([, is]) => is(value))?.[0];
}
