import { Inject, Injectable } from '@nestjs/common';
import type { MessageRoute } from './message-transport.js';
import { wholeNumber } from './outbox.options.js';
import {
  type DeadLetter,
  type DeadLetterId,
  type DeadLetterQuery,
  OUTBOX_STORE,
  type OutboxStore,
} from './outbox-store.js';

/** Messages that were given up, in the store of the application that published them. */
@Injectable()
export class DeadLetters {
  constructor(@Inject(OUTBOX_STORE) private readonly store: OutboxStore) {}

  /**
   * A page in the order of publication; ask for the next one with `after` set to the last one seen.
   *
   * @param query `limit` from 1 to 1000 @default 100
   * @throws StoreUnavailableError
   */
  list(query: Partial<DeadLetterQuery> = {}): Promise<readonly DeadLetter[]> {
    return this.store.operations.deadLetters({ ...query, limit: wholeNumber(query.limit ?? 100, 'limit', 1, 1_000) });
  }

  /** Delivers them anew, with all attempts, until acknowledged. Returns how many were dead. @throws StoreUnavailableError */
  replay(ids: readonly DeadLetterId[]): Promise<number> {
    return this.store.operations.replay(ids);
  }

  /** Forgets them for good. Returns how many there were. @throws StoreUnavailableError */
  discard(ids: readonly DeadLetterId[]): Promise<number> {
    return this.store.operations.discard(ids);
  }

  /**
   * Ends the subscription of a consumer that is no more; what was still to be delivered to it becomes dead letters.
   * Returns how many.
   *
   * @throws StoreUnavailableError; what was moved by then stays moved, and the call may be repeated
   */
  async retire(route: MessageRoute): Promise<number> {
    let retired = 0;
    for (;;) {
      const batch = await this.store.operations.retire(route);
      if (batch === 0) return retired;
      retired += batch;
    }
  }
}
