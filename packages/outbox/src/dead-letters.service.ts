import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { validate as isUuid } from 'uuid';
import { checkedName, checkedTopic } from './message-names.js';
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
   * @throws StoreUnavailableError, ConfigurationError
   */
  async list(query: Partial<DeadLetterQuery> = {}): Promise<readonly DeadLetter[]> {
    if (query.after !== undefined) checkId(query.after, 'after');
    return this.store.operations.deadLetters({ ...query, limit: wholeNumber(query.limit ?? 100, 'limit', 1, 1_000) });
  }

  /** Delivers them anew, with all attempts, until acknowledged. Returns how many were dead. @throws StoreUnavailableError, ConfigurationError */
  async replay(ids: readonly DeadLetterId[]): Promise<number> {
    checkIds(ids);
    return this.store.operations.replay(ids);
  }

  /** Forgets them for good. Returns how many there were. @throws StoreUnavailableError, ConfigurationError */
  async discard(ids: readonly DeadLetterId[]): Promise<number> {
    checkIds(ids);
    return this.store.operations.discard(ids);
  }

  /**
   * Ends the subscription of a consumer that is no more; what was still to be delivered to it becomes dead letters.
   * Returns how many.
   *
   * @throws StoreUnavailableError; what was moved by then stays moved, and the call may be repeated
   */
  async retire(route: MessageRoute): Promise<number> {
    checkedTopic(route?.topic, 'route.topic');
    checkedName(route.consumer, 'route.consumer');
    let retired = 0;
    for (;;) {
      const batch = await this.store.operations.retire(route);
      if (batch === 0) return retired;
      retired += batch;
    }
  }
}

/** @throws ConfigurationError naming the first that is no id; the database's complaint would name neither */
function checkIds(ids: readonly DeadLetterId[]): void {
  if (!Array.isArray(ids)) throw ConfigurationError.option('ids', ids, 'a list of { messageId, consumer }');
  for (const [index, id] of ids.entries()) checkId(id, `ids[${index}]`);
}

function checkId(id: DeadLetterId, option: string): void {
  if (!isUuid(id?.messageId)) {
    throw ConfigurationError.option(`${option}.messageId`, id?.messageId, 'the id of a message, which is a UUID');
  }
  checkedName(id.consumer, `${option}.consumer`);
}
