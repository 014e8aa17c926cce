import { inspect } from 'node:util';
import { LockstepError } from '@lockstep/core';

/** A message that cannot be published: its name, key, headers or body is not allowed, or it is too large. */
export class MessageInvalidError extends LockstepError {
  constructor(topic: unknown, reason: string, cause?: unknown) {
    super({
      code: 'MESSAGE_INVALID',
      kind: 'misuse',
      message: `A message of topic ${inspect(topic, { depth: 0 })} cannot be published: ${reason}.`,
      cause,
    });
  }
}

export const MESSAGE_REFUSED = 'MESSAGE_REFUSED';

/**
 * Thrown by a handler that knows that this message can never be handled: it becomes a dead letter at once, without
 * further attempts.
 */
export class MessageRefusedError extends LockstepError {
  constructor(reason: string, cause?: unknown) {
    super({ code: MESSAGE_REFUSED, kind: 'conflict', message: reason, cause });
  }
}
