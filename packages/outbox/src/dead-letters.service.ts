import { ConfigurationError, wholeNumber } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { validate as isUuid } from 'uuid';
import { FAILED_TOPIC } from './message-headers.js';
import { checkedName, checkedTopic } from './message-names.js';
import type { MessageRoute } from './message-transport.js';
import {
  type DeadLetter,
  type DeadLetterId,
  type DeadLetterQuery,
  OUTBOX_STORE,
  type OutboxStore,
} from './outbox-store.js';

/** Which dead letters an operation in bulk is about; all of them without any. */
export type DeadLetterSelection = Pick<DeadLetterQuery, 'topic' | 'consumer'>;

const PAGE = 500;

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
    return this.store.operations.deadLetters({ ...query, limit: wholeNumber('limit', query.limit ?? 100, 1, 1_000) });
  }

  /** Delivers them anew, with all attempts, until acknowledged. Returns how many were dead. @throws StoreUnavailableError, ConfigurationError */
  async replay(ids: readonly DeadLetterId[]): Promise<number> {
    checkIds(ids);
    return this.store.operations.replay(ids);
  }

  /**
   * Lets the successors of strict ones go on without them: each is delivered once more, takes its turn and has no effect.
   * Returns how many there were; those that are not strict stay. @throws StoreUnavailableError, ConfigurationError
   */
  async skip(ids: readonly DeadLetterId[]): Promise<number> {
    checkIds(ids);
    return this.store.operations.skip(ids);
  }

  /** Those that hold up a strict key, until they are skipped, discarded or replayed, however long that takes; else like {@link list}. */
  blocking(query: Partial<Omit<DeadLetterQuery, 'blocking'>> = {}): Promise<readonly DeadLetter[]> {
    return this.list({ ...query, blocking: true });
  }

  /**
   * {@link replay} for all that fit, 500 at a time. What dies again meanwhile is left dead. Returns how many.
   *
   * @throws StoreUnavailableError; what was replayed by then stays so, and the call may be repeated
   */
  replayAll(which: DeadLetterSelection = {}): Promise<number> {
    return this.each(which, (ids) => this.store.operations.replay(ids));
  }

  /** {@link skip} for all that fit, like {@link replayAll}. */
  skipAll(which: DeadLetterSelection = {}): Promise<number> {
    return this.each({ ...which, blocking: true }, (ids) => this.store.operations.skip(ids));
  }

  /**
   * Forgets them for good. A strict one is skipped, so that its successors go on without it, unless its consumer was retired.
   * Returns how many there were. @throws StoreUnavailableError, ConfigurationError
   */
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
    return this.end(route);
  }

  /**
   * Like {@link retire} for a compensator that is no more: the notices that were still to be given to it become dead letters,
   * and are replayed when it is registered again. Where the application still registers it, it subscribes again at its next
   * start. Returns how many.
   *
   * @param name by which it was registered; `lockstep.alarm` for the messages without one
   * @throws StoreUnavailableError, ConfigurationError; otherwise like {@link retire}
   */
  async retireCompensator(name: string): Promise<number> {
    return this.end({ topic: FAILED_TOPIC, consumer: checkedName(name, 'compensator') });
  }

  private async end(route: MessageRoute): Promise<number> {
    let retired = 0;
    for (;;) {
      const batch = await this.store.operations.retire(route);
      if (batch === 0) return retired;
      retired += batch;
    }
  }

  private async each(
    which: DeadLetterSelection & Pick<DeadLetterQuery, 'blocking'>,
    act: (ids: readonly DeadLetterId[]) => Promise<number>,
  ): Promise<number> {
    const { topic, consumer, blocking } = which;
    if (topic !== undefined) checkedName(topic, 'topic');
    if (consumer !== undefined) checkedName(consumer, 'consumer');
    const query = {
      ...(topic && { topic }),
      ...(consumer && { consumer }),
      ...(blocking && { blocking }),
      limit: PAGE,
    };
    let total = 0;
    let after: DeadLetterId | undefined;
    for (;;) {
      const page = await this.store.operations.deadLetters(after ? { ...query, after } : query);
      const ids = page.map(({ messageId, consumer: of }) => ({ messageId, consumer: of }));
      if (ids.length > 0) total += await act(ids);
      after = ids.at(-1);
      if (ids.length < PAGE) return total;
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
