import { inspect, types } from 'node:util';

const MAX_CHARS = 2_000;
/** A chain may be a ring. */
const MAX_CAUSES = 10;
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

/**
 * The message, and that of the deepest cause where it says more: `redis did not answer lock.acquire: connect
 * ECONNREFUSED`. For the log alone, because a cause may name what a client must not see. At most 2 000 characters.
 */
export function messageWithReason(thrown: unknown): string {
  const message = messageOfThrown(thrown);
  const reason = deepestMessage(thrown);
  if (reason === undefined || message.includes(reason)) return message;
  return bounded(message === '' ? reason : `${message}: ${reason}`);
}

/** Of the last in the chain of causes that says anything; an error for several addresses says nothing, its parts do. */
function deepestMessage(thrown: unknown): string | undefined {
  let deepest: string | undefined;
  try {
    let error: unknown = thrown;
    for (let depth = 0; depth < MAX_CAUSES && types.isNativeError(error); depth += 1) {
      if (error.message !== '') deepest = messageOfThrown(error);
      error = error.cause ?? (error instanceof AggregateError ? error.errors[0] : undefined);
    }
  } catch {
    return deepest;
  }
  return deepest;
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
