import { LockstepError } from '@lockstep/core';

export const MESSAGE_ALREADY_ROLLED_BACK = 'MESSAGE_ALREADY_ROLLED_BACK';

/**
 * The half message was rolled back before its local work was done: somebody asked for the outcome and there was none, or
 * the deadline for joining has passed. Thrown into a transaction, it must roll that transaction back; thrown after work
 * elsewhere, that work stands and no message tells of it.
 */
export class MessageAlreadyRolledBackError extends LockstepError {
  constructor(messageId: string, what: string) {
    super({
      code: MESSAGE_ALREADY_ROLLED_BACK,
      kind: 'conflict',
      message: `Message ${messageId} was rolled back already: ${what}`,
      fields: { messageId },
    });
  }
}

export const NOT_APPLIED = 'NOT_APPLIED';

/**
 * Thrown by the work of a transactional message with `check` that knows for certain that nothing happened, and that
 * nothing will: its message is rolled back at once, without asking the check. Throw it, or a class made of it, before the
 * first step outside, or after a refusal that is final; never when an earlier step may have been done, nor where an answer
 * was lost. It counts as it is: as the cause of another error it says nothing.
 */
export class NotAppliedError extends LockstepError {
  /** @param reason that nothing happened, and why; becomes the message */
  constructor(reason: string, cause?: unknown) {
    super({ code: NOT_APPLIED, kind: 'conflict', message: reason, cause });
  }
}

/** A transactional message was used in a way in which nobody could decide about it. */
export class TransactionalMessageMisuseError extends LockstepError {
  constructor(message: string) {
    super({ code: 'TRANSACTIONAL_MESSAGE_MISUSE', kind: 'misuse', message });
  }
}

/** What an operator asked for cannot be done: the message is decided, not there, or its transaction says otherwise. */
export class MessageNotUndecidedError extends LockstepError {
  constructor(messageId: string, why: string) {
    super({
      code: 'MESSAGE_NOT_UNDECIDED',
      kind: 'conflict',
      message: `Message ${messageId} cannot be decided by hand: ${why}.`,
      fields: { messageId },
    });
  }
}
