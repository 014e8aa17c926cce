import { LockstepError } from '@lockstep/core';

/** Something that must be part of a transaction was called outside of one. */
export class TransactionRequiredError extends LockstepError {
  constructor(purpose: string) {
    super({
      code: 'TRANSACTION_REQUIRED',
      kind: 'misuse',
      message:
        `${purpose} must be part of a transaction, and none is open. Call it inside sql.transaction(…) or a ` +
        '@Transactional() method, pass a transaction, or give SqlModule a bridge to the one of your library.',
      fields: { purpose },
    });
  }
}

/** A transaction was used in a way that would lose or misplace work. */
export class TransactionMisuseError extends LockstepError {
  constructor(message: string) {
    super({ code: 'TRANSACTION_MISUSE', kind: 'misuse', message });
  }
}

/** A transaction handle was used after its end; usually by a promise that nobody awaited. */
export class TransactionEndedError extends LockstepError {
  constructor(state: string) {
    super({
      code: 'TRANSACTION_ENDED',
      kind: 'misuse',
      message: `This transaction has ended (${state}). Await everything that belongs to it before it ends.`,
      fields: { state },
    });
  }
}

/**
 * A statement failed, its error was caught, and the work went on: the database had nothing left to commit. Nothing was
 * applied. `cause` is the error that was caught. A step that may fail belongs into a savepoint.
 */
export class TransactionAbortedError extends LockstepError {
  constructor(cause: unknown) {
    super({
      code: 'TRANSACTION_ABORTED',
      kind: 'misuse',
      message:
        'The database rolled back: a statement of this transaction had failed and its error was caught. Run a step ' +
        'that may fail in a savepoint.',
      cause,
    });
  }
}

/** COMMIT was sent and its answer was lost: everything in the transaction has happened, or nothing has. */
export class CommitOutcomeUnknownError extends LockstepError {
  constructor(cause: unknown) {
    super({
      code: 'COMMIT_OUTCOME_UNKNOWN',
      kind: 'unknown',
      message: 'The answer to COMMIT was lost; the transaction may have been applied or not.',
      cause,
    });
  }
}

/** The tables in the database and the migration files of a package do not belong together. */
export class MigrationError extends LockstepError {
  constructor(set: string, message: string, file?: string) {
    super({
      code: 'MIGRATION_INVALID',
      kind: 'misuse',
      message: `Migrations '${set}': ${message}`,
      fields: { set, ...(file === undefined ? {} : { file }) },
    });
  }
}

/** A message id that is no UUID of version 7; it can never be processed. */
export class MessageIdInvalidError extends LockstepError {
  constructor() {
    super({
      code: 'MESSAGE_ID_INVALID',
      kind: 'conflict',
      message: 'The message id is not a UUID of version 7, from whose time the inbox takes the day.',
    });
  }
}
