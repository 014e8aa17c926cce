import { NotAppliedError } from '@lockstep/outbox';

/** `bank`: it did not take the charge. `order`: it was not asked, for the order is not there to be paid. */
export type NothingChargedBecause = 'bank' | 'order';

/**
 * The bank has not charged an attempt, and never will. `@TransactionalMessage` rolls the message back at once; after any
 * other error the bank would have to be asked.
 */
export class NothingChargedError extends NotAppliedError {
  constructor(readonly because: NothingChargedBecause) {
    super('Nothing was charged');
  }
}
