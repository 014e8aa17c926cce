import { validateHeaderName, validateHeaderValue } from 'node:http';
import { encodeAnswer, type GivenAnswer, type StoredHeaders } from './http/stored-answer.js';
import { isReplayable } from './idempotency.options.js';
import { encodeResult } from './stored-result.js';

/** What repetitions of an HTTP request shall get. */
export interface GivenHttpAnswer {
  /** From 400 on it is an error, and `body` the response of the exception that repetitions meet. */
  readonly status: number;
  readonly body?: unknown;
  /** Names in lower case. None that belongs to one user, request or connection, such as `set-cookie`. */
  readonly headers?: StoredHeaders;
}

/** What is known of how an operation ended: the answer of a request, or the result of another call. */
export type KnownOutcome = { readonly answer: GivenHttpAnswer } | { readonly result: unknown };

/** An operator's word on an uncertain operation. */
export type OperatorVerdict = ({ readonly to: 'completed' } & KnownOutcome) | { readonly to: 'released' };

/**
 * The outcome as it is stored.
 *
 * @throws TypeError when no JSON can be made of it, or a header could not be sent or may not be repeated
 */
export function encodeKnownOutcome(outcome: KnownOutcome): string {
  const refuse = (cause: unknown): never => {
    throw new TypeError('The outcome of an operation must be JSON', { cause });
  };
  if ('result' in outcome) return encodeResult(outcome.result, refuse);
  const { status, body, headers = {} } = outcome.answer;
  if (!Number.isInteger(status) || status < 200 || status > 599) refuse(new TypeError(`${status} is no status`));
  const given: GivenAnswer = { status, value: body, isError: status >= 400 };
  return encodeAnswer(given, checkedHeaders(headers), Number.POSITIVE_INFINITY, (_reason, cause) => refuse(cause));
}

/** Every repetition would fail with what Node does not send. */
function checkedHeaders(headers: StoredHeaders): StoredHeaders {
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name);
    for (const text of [value].flat()) validateHeaderValue(name, text);
    if (!isReplayable(name)) throw new TypeError(`The header ${name} belongs to one user, request or connection`);
  }
  return headers;
}
