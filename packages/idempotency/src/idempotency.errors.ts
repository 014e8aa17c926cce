import { LockstepError } from '@lockstep/core';

/** The route requires an `Idempotency-Key` and the request has none. */
export class IdempotencyKeyMissingError extends LockstepError {
  constructor(header: string) {
    super({
      code: 'IDEMPOTENCY_KEY_MISSING',
      kind: 'conflict',
      httpStatus: 400,
      message: `The header ${header} is required.`,
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/** The `Idempotency-Key` is malformed, too short or too long. */
export class IdempotencyKeyInvalidError extends LockstepError {
  constructor(header: string, reason: string) {
    super({
      code: 'IDEMPOTENCY_KEY_INVALID',
      kind: 'conflict',
      httpStatus: 400,
      message: `The header ${header} ${reason}.`,
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/**
 * Nobody has read the body of the request, so that another payload could not be told from it. Nothing was claimed.
 * Register a parser for its content type, such as `app.useBodyParser('text')`, or a middleware that sets `rawBody`.
 */
export class IdempotencyPayloadUnreadableError extends LockstepError {
  constructor() {
    super({
      code: 'IDEMPOTENCY_PAYLOAD_UNREADABLE',
      kind: 'conflict',
      httpStatus: 415,
      message:
        'The body of this request was not read: register a body parser for its content type, ' +
        'or a middleware that sets rawBody.',
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/** The program names an operation by what cannot name it, or gives a payload that cannot be compared. */
export class OperationInvalidError extends LockstepError {
  constructor(
    readonly part: 'scope' | 'operation' | 'key' | 'payload',
    reason: string,
    cause?: unknown,
  ) {
    super({
      code: 'IDEMPOTENCY_OPERATION_INVALID',
      kind: 'misuse',
      message: `The ${part} of an idempotent operation ${reason}.`,
      cause,
    });
  }
}

/** The key was used before, for another payload. */
export class IdempotencyKeyReusedError extends LockstepError {
  constructor() {
    super({
      code: 'IDEMPOTENCY_KEY_REUSED',
      kind: 'conflict',
      httpStatus: 422,
      message: 'This idempotency key was already used with another payload. Use a new key for a new operation.',
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/** The first request with this key is still running; repeating it with the same key later gives its answer. */
export class OperationInProgressError extends LockstepError {
  constructor(retryAfterMs: number) {
    super({
      code: 'OPERATION_IN_PROGRESS',
      kind: 'busy',
      httpStatus: 409,
      message: 'The first request with this idempotency key is still running. Repeat it later with the same key.',
      retryAfterMs,
      fields: { operationState: 'running', safeNewKey: false },
    });
  }
}

/**
 * The first request with this key may or may not have taken effect. A new key could do it twice. Its fields name the
 * operation and the `id` that {@link IdempotencyService.resolve} takes; the client may quote it, and learns no key.
 */
export class OperationUncertainError extends LockstepError {
  constructor(operation: string, id: string) {
    super({
      code: 'OPERATION_UNCERTAIN',
      kind: 'unknown',
      httpStatus: 409,
      message: 'The first request with this key failed or broke off; whether it took effect is not known.',
      fields: { operationState: 'uncertain', safeNewKey: false, operation, id },
    });
  }
}

/** The operation took effect, but its answer was not stored: a stream, or larger than `maxResponseBytes`. */
export class OperationResultUnavailableError extends LockstepError {
  constructor() {
    super({
      code: 'OPERATION_RESULT_UNAVAILABLE',
      kind: 'conflict',
      httpStatus: 409,
      message: 'The first request with this idempotency key took effect, but its answer cannot be repeated.',
      fields: { operationState: 'completed', safeNewKey: false },
    });
  }
}

/** The operation had to be issued before it could begin, and was not, or so long ago that it is forgotten. */
export class OperationAbsentError extends LockstepError {
  constructor() {
    super({
      code: 'OPERATION_ABSENT',
      kind: 'conflict',
      httpStatus: 409,
      message: 'This operation was never issued, or is over and forgotten.',
      fields: { operationState: 'not-started', safeNewKey: false },
    });
  }
}

/** The claim has passed on to somebody else, or was settled before this run came to its work: it must not go on. */
export class OperationLostError extends LockstepError {
  constructor(operation: string) {
    super({
      code: 'OPERATION_LOST',
      kind: 'unknown',
      httpStatus: 409,
      message:
        'This run has lost its operation: another one has it, or it was ended before. What is done so far stands.',
      fields: { operationState: 'uncertain', safeNewKey: false, operation },
    });
  }
}

/** A step has run, but its result is no JSON, so that a later run could not go on after it. */
export class StepResultInvalidError extends LockstepError {
  constructor(step: string, cause: unknown) {
    super({
      code: 'IDEMPOTENCY_STEP_INVALID',
      kind: 'unknown',
      message: `The result of step '${step}' is no JSON, so that it cannot be kept.`,
      cause,
      fields: { step },
    });
  }
}

/** The database could not serialize the operation with others, however often it ran. Nothing of it was applied. */
export class OperationContendedError extends LockstepError {
  constructor(operation: string, runs: number, cause: unknown) {
    super({
      code: 'OPERATION_CONTENDED',
      kind: 'busy',
      httpStatus: 503,
      message: `${operation} was rolled back ${runs} times in favour of others. Repeat it with the same key.`,
      retryAfterMs: 1_000,
      cause,
      fields: { operationState: 'not-started', safeNewKey: true },
    });
  }
}

/**
 * A handler in one transaction would have given its answer outside of it: by a stream, which is read after the commit
 * and may fail then, or by sending it itself, before the commit, which may fail. Everything was rolled back. Return
 * data, or use the mode `'lease'`.
 */
export class AnswerOutsideTransactionError extends LockstepError {
  constructor(operation: string, reason: string) {
    super({
      code: 'IDEMPOTENCY_ANSWER_OUTSIDE_TRANSACTION',
      kind: 'misuse',
      message: `${operation} is one transaction with its answer, but ${reason}. Return data, or use the mode 'lease'.`,
    });
  }
}

/**
 * For handlers: nothing happened, so that the same key may be used again, even for another payload. The caller gets
 * `cause`.
 */
export class NotApplied extends Error {
  override readonly name = 'NotApplied';

  constructor(override readonly cause: unknown) {
    super('The operation was not applied', { cause });
  }
}

/** For handlers: it may have happened, so nobody may try again before an operator looked. The caller gets `cause`. */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown';

  constructor(override readonly cause: unknown) {
    super('The outcome of the operation is unknown', { cause });
  }
}
