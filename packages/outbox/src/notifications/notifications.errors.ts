import { inspect } from 'node:util';
import { LockstepError } from '@lockstep/core';

/** A notification that cannot be sent: its type, id, data or target is not allowed, or it is too large. */
export class NotificationInvalidError extends LockstepError {
  constructor(type: unknown, reason: string, cause?: unknown) {
    super({
      code: 'NOTIFICATION_INVALID',
      kind: 'misuse',
      message: `A notification of type ${inspect(type, { depth: 0 })} cannot be sent: ${reason}.`,
      cause,
    });
  }
}

/** The id was used for another notification; the receiver would take this one for a copy of it. */
export class NotificationConflictError extends LockstepError {
  constructor(id: string) {
    super({
      code: 'NOTIFICATION_ID_TAKEN',
      kind: 'conflict',
      message: 'The id stands for another notification.',
      fields: { id },
    });
  }
}

export class EndpointUnknownError extends LockstepError {
  constructor(endpoint: string) {
    super({
      code: 'NOTIFICATION_ENDPOINT_UNKNOWN',
      kind: 'conflict',
      message: 'No such endpoint is registered.',
      httpStatus: 404,
      fields: { endpoint },
    });
  }
}

export class EndpointExistsError extends LockstepError {
  constructor(endpoint: string) {
    super({
      code: 'NOTIFICATION_ENDPOINT_EXISTS',
      kind: 'conflict',
      message: 'An endpoint of this id is registered already.',
      fields: { endpoint },
    });
  }
}

/** What is replayed to a disabled endpoint is only cancelled again: enable it first. */
export class ReplayRefusedError extends LockstepError {
  constructor(endpoint: string) {
    super({
      code: 'NOTIFICATION_REPLAY_REFUSED',
      kind: 'conflict',
      message: 'The endpoint is disabled.',
      fields: { endpoint },
    });
  }
}

/** Several processes changed the same endpoint at the same time, again and again, or what is removed is being sent to. */
export class EndpointBusyError extends LockstepError {
  constructor(endpoint: string) {
    super({
      code: 'NOTIFICATION_ENDPOINT_BUSY',
      kind: 'busy',
      message: 'Others are changing this endpoint, or sending to it.',
      fields: { endpoint },
    });
  }
}

/** A target that may not be called: a scheme, port or address that is not allowed. */
export class TargetForbiddenError extends LockstepError {
  constructor(reason: string) {
    super({
      code: 'NOTIFICATION_TARGET_FORBIDDEN',
      kind: 'misuse',
      message: `The target may not be called: ${reason}.`,
      httpStatus: 422,
    });
  }
}

/** A webhook, or a question of a partner, that is not signed as it must be. Never says which part was wrong. */
export class WebhookUnverifiedError extends LockstepError {
  constructor() {
    super({
      code: 'WEBHOOK_UNVERIFIED',
      kind: 'conflict',
      message: 'The request is not signed as it must be.',
      httpStatus: 401,
    });
  }
}

/** A copy of a webhook that is being handled right now; its sender repeats it. */
export class WebhookBusyError extends LockstepError {
  constructor() {
    super({
      code: 'WEBHOOK_BUSY',
      kind: 'busy',
      message: 'A copy of this webhook is being handled.',
      httpStatus: 409,
      retryAfterMs: 5_000,
    });
  }
}
