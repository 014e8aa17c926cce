import { types } from 'node:util';

/**
 * What a caller can conclude from an error:
 * - `busy`: it did not happen, somebody else is at it; the same call may succeed later.
 * - `unavailable`: a server could not be reached. It did not happen, unless the error carries `outcome: 'unknown'`.
 * - `conflict`: it did not happen and the same call will not succeed either.
 * - `unknown`: it may or may not have happened.
 * - `misuse`: the program or its configuration is wrong.
 */
export type ErrorKind = 'busy' | 'unavailable' | 'conflict' | 'unknown' | 'misuse';

/** A value that may stand in a log line or a problem document. */
export type ErrorField = string | number | boolean | null;

export interface LockstepErrorInit {
  /** UPPER_SNAKE; the same in problem documents, logs and metrics. */
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
  /** Whether the same call may succeed later. @default true for `busy` and `unavailable`, else false */
  readonly retryable?: boolean;
  /** When to try again, where it is known. */
  readonly retryAfterMs?: number;
  /** HTTP status where the kind's own is not the right one. */
  readonly httpStatus?: number;
  readonly cause?: unknown;
  /** Structured facts for logs and problem documents; no secrets, they reach the client. */
  readonly fields?: Readonly<Record<string, ErrorField>>;
}

const BRAND = Symbol.for('lockstep:error');

/**
 * Base of every error that Lockstep raises. It is branded, so `instanceof LockstepError` and {@link isLockstepError}
 * also recognise an error that was made by another copy of this package.
 */
export class LockstepError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly httpStatus: number | undefined;
  readonly fields: Readonly<Record<string, ErrorField>>;

  constructor(init: LockstepErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = new.target.name;
    this.code = init.code;
    this.kind = init.kind;
    this.retryable = init.retryable ?? (init.kind === 'busy' || init.kind === 'unavailable');
    this.retryAfterMs = init.retryAfterMs;
    this.httpStatus = init.httpStatus;
    this.fields = Object.freeze({ ...init.fields });
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** What GraphQL servers copy into the `extensions` of an error. */
  get extensions(): Readonly<Record<string, ErrorField>> {
    const { fields, code, kind, retryable, retryAfterMs } = this;
    return { ...fields, ...(retryAfterMs === undefined ? {} : { retryAfterMs }), code, kind, retryable };
  }
}

// Only the base looks at the brand; a subclass keeps the ordinary meaning of instanceof.
Object.defineProperty(LockstepError, Symbol.hasInstance, {
  value(this: unknown, value: unknown): boolean {
    return this === LockstepError ? isLockstepError(value) : Function.prototype[Symbol.hasInstance].call(this, value);
  },
});

/** Whether `value` is an error of Lockstep, whichever copy of the package made it. */
export function isLockstepError(value: unknown): value is LockstepError {
  // Anything can be thrown; the traps of a proxy that is no error may throw in their turn.
  return types.isNativeError(value) && (value as unknown as Record<symbol, unknown>)[BRAND] === true;
}
