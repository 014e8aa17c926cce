import { LockstepError } from '@lockstep/core';

/** The route wants a token that the page before it has issued, and the request has none. */
export class IdempotencyTokenMissingError extends LockstepError {
  constructor(place: string) {
    super({
      code: 'IDEMPOTENCY_TOKEN_MISSING',
      kind: 'conflict',
      httpStatus: 400,
      message: `The token of this form is missing; it belongs in ${place}. Load the form again to get one.`,
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/**
 * The token is none that may be used: never issued, expired, for another purpose, somebody else's, tampered with. One
 * answer for all, so that nobody learns which. Nothing was done under it within `retention`.
 */
export class IdempotencyTokenInvalidError extends LockstepError {
  /** @param wasPerhapsUsed the token may be void because it was used: what it was used for may have been done */
  constructor({ wasPerhapsUsed = false } = {}) {
    super({
      code: 'IDEMPOTENCY_TOKEN_INVALID',
      kind: 'conflict',
      httpStatus: 409,
      message: wasPerhapsUsed
        ? 'The token of this form cannot be used (any more). Look whether it was submitted before you load it again.'
        : 'The token of this form cannot be used (any more). Load the form again to get a new one.',
      fields: wasPerhapsUsed
        ? { operationState: 'unknown', safeNewKey: false }
        : { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/** The answer of a handler cannot take its token: it is no object, or has the field already. */
export class IdempotencyTokenUndeliverableError extends LockstepError {
  constructor(handler: string, place: string, reason: string) {
    super({
      code: 'IDEMPOTENCY_TOKEN_UNDELIVERABLE',
      kind: 'misuse',
      message: `The token of ${handler} cannot be delivered in ${place}: the answer ${reason}.`,
    });
  }
}
