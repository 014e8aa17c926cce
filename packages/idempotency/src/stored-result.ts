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

/** @throws OperationResultUnavailableError where the result was no JSON */
export function decodeResult<T>(text: string): T {
  const stored = JSON.parse(text) as { readonly value: T; readonly isUnavailable?: true };
  if (stored.isUnavailable) throw new OperationResultUnavailableError();
  return stored.value;
}
