import { LockstepError } from '@lockstep/core';

/** The session that the call is about is not there any more: logged out, revoked or run out. Nothing was written. */
export class SessionEndedError extends LockstepError {
  constructor(operation: string) {
    super({
      code: 'SESSION_ENDED',
      kind: 'conflict',
      message: 'The session has ended; nothing was written',
      httpStatus: 401,
      fields: { operation },
    });
  }
}

/** The route needs a session of somebody, or a login that is not so long ago. */
export class SessionRequiredError extends LockstepError {
  constructor(reason: 'no-session' | 'no-principal' | 'login-too-old') {
    super({
      code: reason === 'login-too-old' ? 'LOGIN_TOO_OLD' : 'SESSION_REQUIRED',
      kind: 'conflict',
      message: reason === 'login-too-old' ? 'This needs a login that is more recent' : 'This needs a login',
      httpStatus: 401,
      fields: { reason },
    });
  }
}

/** The user has as many sessions as he may, and the policy is to refuse one more. Nothing was changed. */
export class TooManySessionsError extends LockstepError {
  constructor(limit: number) {
    super({
      code: 'TOO_MANY_SESSIONS',
      kind: 'conflict',
      message: `This user has ${limit} sessions already`,
      fields: { limit },
    });
  }
}

/** Other requests changed the attribute again and again while `update()` computed its new value. Nothing was written. */
export class SessionContendedError extends LockstepError {
  constructor(attempts: number) {
    super({
      code: 'SESSION_CONTENDED',
      kind: 'busy',
      message: `The attribute was changed by others in each of ${attempts} attempts`,
      retryAfterMs: 1_000,
      httpStatus: 409,
      fields: { attempts },
    });
  }
}

/** An attribute, or all of them together, would be larger than the options allow. Nothing was written. */
export class SessionTooLargeError extends LockstepError {
  constructor(what: 'attribute' | 'session' | 'cookie', bytes: number, maxBytes: number) {
    super({
      code: 'SESSION_TOO_LARGE',
      kind: 'misuse',
      message: `The ${what} would have ${bytes} bytes; ${maxBytes} are allowed`,
      httpStatus: 413,
      fields: { what, bytes, maxBytes },
    });
  }
}

/** What a session cannot do, or not here: the message says what and why. */
export class SessionMisuseError extends LockstepError {
  constructor(message: string) {
    super({ code: 'SESSION_MISUSE', kind: 'misuse', message });
  }
}
