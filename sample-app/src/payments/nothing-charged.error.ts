import { LockstepError } from '@lockstep/core';

/** `bank`: it did not take the charge. `order`: it was not asked, for the order is not there to be paid. */
export type NothingChargedBecause = 'bank' | 'order';

/**
 * The bank has not charged an attempt, and never will. Its kind says so to `@TransactionalMessage`, which rolls the message
 * back at once; of an error without a kind the bank would have to be asked.
 */
export class NothingChargedError extends LockstepError {
  constructor(readonly because: NothingChargedBecause) {
    super({ code: 'NOTHING_CHARGED', kind: 'conflict', message: 'Nothing was charged', fields: { because } });
  }
}
