import { LockstepError } from '@lockstep/core';

/**
 * - `invalid`: not made here, or not whole
 * - `audience`: made for somebody else
 * - `expired`: its time is over; a new one is to be had with the session
 * - `ended`: the session that it hangs on is over, so its user has to log in
 */
export type SessionJwtRefusal = 'invalid' | 'audience' | 'expired' | 'ended';

/** The JWT proves nothing. */
export class SessionJwtError extends LockstepError {
  constructor(reason: SessionJwtRefusal, cause?: unknown) {
    super({
      code: 'SESSION_JWT_REFUSED',
      kind: 'conflict',
      message: 'The token is not accepted',
      httpStatus: 401,
      cause,
      fields: { reason },
    });
  }
}
