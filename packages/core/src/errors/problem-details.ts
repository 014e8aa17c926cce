import type { ErrorField, ErrorKind, LockstepError } from './lockstep-error.js';

/** RFC 9457 problem document of a {@link LockstepError}. `code` and `kind` are for machines, `detail` is for people. */
export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly [field: string]: unknown;
}

const STATUS: Record<ErrorKind, number> = { busy: 423, unavailable: 503, conflict: 409, unknown: 500, misuse: 500 };

const TITLE: Record<ErrorKind, string> = {
  busy: 'Somebody else is working on it',
  unavailable: 'A server that is needed cannot be reached',
  conflict: 'The request conflicts with the current state',
  unknown: 'The outcome is unknown',
  misuse: 'The service is not set up correctly',
};
const REFUSED = 'The request cannot be accepted as it is';

/** HTTP status of an error: its own hint, else the one of its kind. */
export function httpStatusOf(error: LockstepError): number {
  return error.httpStatus ?? STATUS[error.kind];
}

/** Seconds for the `Retry-After` header, rounded up, at least 1; undefined where the error does not say. */
export function retryAfterSeconds(error: LockstepError): number | undefined {
  if (error.retryAfterMs === undefined || !Number.isFinite(error.retryAfterMs)) return undefined;
  return Math.max(1, Math.ceil(error.retryAfterMs / 1_000));
}

/** The problem document. A server's misuse says nothing of its inside: the message stays in the log. */
export function problemDetailsOf(error: LockstepError): ProblemDetails {
  return {
    ...(isInternal(error) ? {} : error.fields),
    type: 'about:blank',
    title: titleOf(error),
    status: httpStatusOf(error),
    detail: detailOf(error),
    code: error.code,
    kind: error.kind,
    retryable: error.retryable,
  };
}

/** What a caller without HTTP gets: the error object of an RPC or WebSocket answer. Hides what the document hides. */
export interface RemoteError {
  readonly status: 'error';
  readonly message: string;
  readonly code: string;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly [field: string]: ErrorField;
}

export function remoteErrorOf(error: LockstepError): RemoteError {
  return {
    ...(isInternal(error) ? {} : error.fields),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    status: 'error',
    message: detailOf(error),
    code: error.code,
    kind: error.kind,
    retryable: error.retryable,
  };
}

/** Whether the message and fields are for the operator only. */
export function isInternal(error: LockstepError): boolean {
  return error.kind === 'misuse' && httpStatusOf(error) >= 500;
}

/** A status of its own that blames the request itself, such as 400 or 422, is no conflict and no fault of the service. */
function titleOf(error: LockstepError): string {
  const { kind } = error;
  const status = httpStatusOf(error);
  const isRefused = (kind === 'conflict' && status !== STATUS.conflict) || (kind === 'misuse' && status < 500);
  return isRefused ? REFUSED : TITLE[kind];
}

function detailOf(error: LockstepError): string {
  return isInternal(error) ? TITLE.misuse : error.message;
}
