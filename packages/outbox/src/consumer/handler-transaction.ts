import { types } from 'node:util';
import { checkpoint } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';
import type { Message } from '../message.js';
import { SEQUENCE_HEADER } from '../message-headers.js';
import { MessageRefusedError } from '../outbox.errors.js';
import type { ConsumerServices } from './consumer-services.js';
import { isOutOfSequence, isOutOfTurn, type OutOfSequenceError, type OutOfTurnError } from './gate.errors.js';
import type { MessageHandler } from './message-handler.js';
import { messageSpan } from './message-span.js';
import { replyDone } from './replies.js';
import { byTurn } from './turn-order.js';

/** Why a message cannot take its turn now. */
export type NoTurn = OutOfTurnError | OutOfSequenceError;

/** Undoes a batch, so that it can be done without those that may not take their turn. */
class LeaveOut extends Error {
  constructor(readonly left: ReadonlyMap<string, NoTurn>) {
    super('some messages of the batch may not take effect now');
  }
}

/**
 * The effect of messages: inbox rows, positions of strict keys, what the handler does, and what it replies, in one
 * transaction. It is read committed, because it must see what another one committed while it waited for it.
 */
export class HandlerTransaction {
  constructor(
    private readonly handler: MessageHandler,
    private readonly services: ConsumerServices,
  ) {}

  /**
   * Resolves when the message has taken effect, now or before.
   *
   * @param mayRun false for one that took the process with it whenever it was handed out; or its effect is committed and
   * only the answer was lost
   */
  async one(message: Message, attempt: number, mayRun: boolean): Promise<void> {
    await this.prepare([message]);
    const span = { ...this.subject, messages: [message], attempt };
    await this.services.carriers.run(message.headers, () =>
      messageSpan(span, () =>
        this.begin([message], async (tx) => {
          if (!(await this.services.inbox.once(tx, this.consumer, message.id))) return;
          if (isStrict(message) && !(await this.services.gate.enter(tx, this.consumer, message))) return;
          if (!mayRun) throw neverAnswered();
          await this.run(tx, [message]);
        }),
      ),
    );
  }

  /**
   * Resolves when the messages have taken effect together, now or before; with those that may not take their turn now,
   * by id, which are as if they had not been there.
   *
   * @param messages each once; those of a strict key in their order
   */
  async together(messages: readonly Message[]): Promise<ReadonlyMap<string, NoTurn>> {
    await this.prepare(messages);
    const left = new Map<string, NoTurn>();
    for (let rest = messages; rest.length > 0; rest = rest.filter(({ id }) => !left.has(id))) {
      const refused = await this.tryTogether(rest);
      if (refused.size === 0) break;
      for (const [id, why] of refused) left.set(id, why);
    }
    return left;
  }

  private get consumer(): string {
    return this.handler.route.consumer;
  }

  private get subject() {
    return { route: this.handler.route, handler: this.handler.name };
  }

  private async tryTogether(messages: readonly Message[]): Promise<ReadonlyMap<string, NoTurn>> {
    const span = { ...this.subject, messages, attempt: undefined };
    try {
      // The batch has no context that one of its messages could give it.
      await this.services.carriers.run({}, () =>
        messageSpan(span, () => this.begin(messages, (tx) => this.runTogether(tx, messages))),
      );
      return new Map();
    } catch (error) {
      if (types.isNativeError(error) && error instanceof LeaveOut) return error.left;
      throw error;
    }
  }

  private async runTogether(tx: SqlTransaction, messages: readonly Message[]): Promise<void> {
    const ids = messages.map(({ id }) => id);
    const first = await this.services.inbox.onceMany(tx, this.consumer, ids);
    const fresh = messages.filter(({ id }) => first.has(id));
    const entered = new Set<string>();
    const left = new Map<string, NoTurn>();
    for (const message of byTurn(fresh)) {
      if (!isStrict(message)) {
        entered.add(message.id);
        continue;
      }
      try {
        if (await this.services.gate.enter(tx, this.consumer, message)) entered.add(message.id);
      } catch (error) {
        if (!isOutOfTurn(error) && !isOutOfSequence(error)) throw error;
        left.set(message.id, error);
      }
    }
    if (left.size > 0) throw new LeaveOut(left);
    const inTurn = fresh.filter(({ id }) => entered.has(id));
    if (inTurn.length > 0) await this.run(tx, inTurn);
  }

  private async run(tx: SqlTransaction, messages: readonly Message[]): Promise<void> {
    const results = await this.handler.invoke(messages);
    await replyDone(this.services.outbox, tx, this.consumer, messages, results);
    checkpoint('outbox.consumer.handled', detailOf(messages));
  }

  private async begin(messages: readonly Message[], work: (tx: SqlTransaction) => Promise<void>): Promise<void> {
    // Nothing is done before the inbox was asked, so that an outage still runs no handler.
    const options = {
      propagation: 'requires-new',
      isolation: 'read committed',
      begin: 'with-first-statement',
    } as const;
    await this.services.sql.transaction(work, options);
    checkpoint('outbox.consumer.committed', detailOf(messages));
  }

  /** Making the table takes a second connection, for which a transaction must not wait. */
  private async prepare(messages: readonly Message[]): Promise<void> {
    if (messages.some(isStrict)) await this.services.gate.prepare();
  }
}

function isStrict({ headers }: Message): boolean {
  return headers[SEQUENCE_HEADER] !== undefined;
}

function detailOf(messages: readonly Message[]): Readonly<Record<string, unknown>> {
  const [first] = messages;
  return messages.length === 1 ? { id: first?.id } : { id: first?.id, messages: messages.length };
}

function neverAnswered(): MessageRefusedError {
  return new MessageRefusedError('It was handed out for all its attempts, and the process never answered.');
}
