import { OperationResultUnavailableError } from './idempotency.errors.js';

/**
 * The result of an operation outside of HTTP as text. `undefined` leaves the object empty, which is how it comes back.
 *
 * @param onUnavailable hears why a result cannot be told again
 */
export function encodeResult(value: unknown, onUnavailable: (cause: unknown) => void): string {
  try {
    return JSON.stringify({ value });
  } catch (cause) {
    // The effect is there but cannot be told again: refusing repetitions is all that is left.
    onUnavailable(cause);
    return JSON.stringify({ isUnavailable: true });
  }
}

/** @throws OperationResultUnavailableError where the result was no JSON, or is none but the answer of a request */
export function decodeResult<T>(text: string): T {
  return tellableOf<{ readonly value: T }>(text).value;
}

/**
 * What was stored of a call, where it can be told again.
 *
 * @throws OperationResultUnavailableError where it cannot, also because an operator gave a call the answer of a request
 */
export function tellableOf<Stored extends object>(text: string): Stored {
  const stored = JSON.parse(text) as Stored | { readonly isUnavailable: true } | { readonly status: number };
  if ('isUnavailable' in stored || 'status' in stored) throw new OperationResultUnavailableError();
  return stored;
}
