import { type ErrorField, LockstepError } from './lockstep-error.js';

export interface StoreUnavailableInit {
  /** The server, as an operator knows it: `redis`, `postgres`. */
  readonly store: string;
  /** What was attempted: `lock.acquire`. */
  readonly operation: string;
  /**
   * `not-applied`: the command never left. `unknown`: it left and no answer came, so the server may have executed it
   * or may still do so.
   */
  readonly outcome: 'not-applied' | 'unknown';
  /** @default 1000 */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
  readonly fields?: Readonly<Record<string, ErrorField>>;
}

/**
 * A server that a guarantee needs did not answer in time. Never means that somebody else holds what was asked for. Why
 * it did not answer is the `cause`, for the log: the message and the fields reach the client.
 */
export class StoreUnavailableError extends LockstepError {
  readonly outcome: 'not-applied' | 'unknown';

  constructor(init: StoreUnavailableInit) {
    super({
      code: 'STORE_UNAVAILABLE',
      kind: 'unavailable',
      message: `${init.store} did not answer ${init.operation}`,
      retryAfterMs: init.retryAfterMs ?? 1_000,
      cause: init.cause,
      fields: { ...init.fields, store: init.store, operation: init.operation, outcome: init.outcome },
    });
    this.outcome = init.outcome;
  }
}
