import { inspect, types } from 'node:util';

const MAX_CHARS = 2_000;
const NO_TEXT = 'something that cannot be described';
const INSPECTION = { depth: 1, maxArrayLength: 10, maxStringLength: 200 };

/**
 * What was thrown, as text for people: `TypeError: no such order`, or the value where it is no error. At most 2 000
 * characters. Never throws: anything can be thrown, also an object that has no text, or whose getters throw.
 */
export function describeThrown(thrown: unknown): string {
  return described(thrown, ({ name, message }) => `${name}: ${message}`);
}

/** The message alone where it is an error; else like {@link describeThrown}. */
export function messageOfThrown(thrown: unknown): string {
  return described(thrown, ({ message }) => message);
}

function described(thrown: unknown, ofError: (error: Error) => string): string {
  try {
    if (types.isNativeError(thrown)) return bounded(ofError(thrown));
    return bounded(typeof thrown === 'string' ? thrown : inspect(thrown, INSPECTION));
  } catch {
    return NO_TEXT;
  }
}

function bounded(text: string): string {
  return text.length <= MAX_CHARS ? text : `${text.slice(0, MAX_CHARS - 1)}…`;
}
