import type { HttpException } from '@nestjs/common';
import { revivedException } from './http/http-failure.js';
import { OperationResultUnavailableError } from './idempotency.errors.js';
import type { ResultCodec } from './method/method-types.js';
import { encodeResult, tellableOf } from './stored-result.js';

/** What an outcome is as text, beside a result that is JSON. */
interface StoredOutcome {
  readonly value?: unknown;
  /** By the codec of the method. */
  readonly encoded?: string;
  readonly exception?: { readonly status: number; readonly response: unknown };
}

/** @param onUnavailable hears why a result cannot be told again */
export function encodeOutcome(
  result: unknown,
  codec: ResultCodec<unknown> | undefined,
  onUnavailable: (cause: unknown) => void,
): string {
  if (!codec) return encodeResult(result, onUnavailable);
  try {
    const encoded: unknown = codec.encode(result);
    if (typeof encoded === 'string') return JSON.stringify({ encoded });
    throw new TypeError(`encode() of the codec gave a ${typeof encoded} instead of a string`);
  } catch (cause) {
    onUnavailable(cause);
    return JSON.stringify({ isUnavailable: true });
  }
}

/** An exception that is a final answer, as text. @throws TypeError when its response is no JSON */
export function encodeException(error: HttpException): string {
  return JSON.stringify({ exception: { status: error.getStatus(), response: error.getResponse() } });
}

/**
 * The first result.
 *
 * @throws the first exception, where that was the answer
 * @throws OperationResultUnavailableError where it could not be stored
 */
export function decodeOutcome(text: string, codec: ResultCodec<unknown> | undefined): unknown {
  const { value, encoded, exception } = tellableOf<StoredOutcome>(text);
  if (exception) throw revivedException(exception.status, exception.response);
  // The program may have been given a codec since, or have lost it.
  if (encoded === undefined) return value;
  if (!codec) throw new OperationResultUnavailableError();
  return codec.decode(encoded);
}
