import { ContextCarriers, checkpoint, count, Incidents, isLockstepError, withSpan } from '@lockstep/core';
import { Inbox, Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { AckSender } from '../ack/ack-sender.js';
import type { Message } from '../message.js';
import { decodeMessage } from '../message-codec.js';
import type { Delivery, DeliveryOutcome } from '../message-transport.js';
import { MESSAGE_REFUSED, MessageRefusedError } from '../outbox.errors.js';
import { acknowledge } from './acknowledge.js';
import type { MessageHandler } from './message-handler.js';
import { RetryPauses } from './retry-pauses.js';

// By its code, which is the same in every copy of the package.
const COMMIT_OUTCOME_UNKNOWN = 'COMMIT_OUTCOME_UNKNOWN';

const NOT_TRIED: DeliveryOutcome = {
  outcome: 'postpone',
  delayMs: 0,
  error: new Error('the application is shutting down'),
};

/** What the consumers of an application share. */
@Injectable()
export class ConsumerServices {
  constructor(
    @Inject(Sql) readonly sql: Sql,
    @Inject(Inbox) readonly inbox: Inbox,
    @Inject(ContextCarriers) readonly carriers: ContextCarriers,
    @Inject(Incidents) readonly incidents: Incidents,
  ) {}
}

/**
 * One consumer of one topic. A delivery goes
 *
 * ```
 * delivered --inbox row is there already--> done (again acknowledged)
 *           --handler resolved, committed--> done
 *           --busy | unavailable | commit unknown--> postpone, not counted
 *           --rejected--> retry, or dead after the last attempt
 *           --refused | unreadable | handed out too often without an answer--> dead
 * ```
 * `done` and `dead` are acknowledged. A lost acknowledgement of `done` is harmless, for the re-delivery finds the inbox
 * row; one of `dead` is not, so the delivery stays with the transport until it has arrived.
 */
export class MessageConsumer {
  private readonly pauses: RetryPauses;
  private stopped = false;

  constructor(
    private readonly handler: MessageHandler,
    private readonly services: ConsumerServices,
    private readonly acks: AckSender,
  ) {
    this.pauses = new RetryPauses(handler.options);
  }

  /** What of a running batch was not begun yet goes back: at shutdown, nobody waits for a hundred handlers. */
  stop(): void {
    this.stopped = true;
  }

  async handle(batch: readonly Delivery[]): Promise<readonly DeliveryOutcome[]> {
    const outcomes: DeliveryOutcome[] = [];
    for (const delivery of batch) outcomes.push(this.stopped ? NOT_TRIED : await this.process(delivery));
    return acknowledge(batch, outcomes, this.handler.route.consumer, this.acks, this.services.incidents);
  }

  private async process(delivery: Delivery): Promise<DeliveryOutcome> {
    const outcome = await this.attempt(delivery);
    const { topic, consumer } = this.handler.route;
    count('lockstep.outbox.consumed', { topic, consumer, outcome: outcome.outcome });
    if (outcome.outcome === 'done') this.pauses.answered();
    else this.report(delivery, outcome);
    return outcome;
  }

  private async attempt({ message: envelope, attempt }: Delivery): Promise<DeliveryOutcome> {
    let message: Message;
    try {
      message = decodeMessage(envelope);
    } catch (error) {
      return { outcome: 'dead', error };
    }
    const suspected = attempt > this.handler.options.attempts;
    try {
      await this.inContext(message, () => this.once(message, suspected ? this.refuseToRun : this.run));
      return { outcome: 'done' };
    } catch (error) {
      return this.judge(await this.handler.filter([message], error), attempt);
    }
  }

  private readonly run = async (message: Message): Promise<void> => {
    await this.handler.invoke([message]);
  };

  /** It took the process with it whenever it was handed out; or its effect is committed and only the answer was lost. */
  private readonly refuseToRun = async (): Promise<void> => {
    throw new MessageRefusedError('It was handed out for all its attempts, and the process never answered.');
  };

  private inContext<T>(message: Message, fn: () => Promise<T>): Promise<T> {
    const { route, name } = this.handler;
    const attributes = { 'messaging.destination.name': route.topic, 'messaging.message.id': message.id };
    return this.services.carriers.run(message.headers, () =>
      withSpan(`lockstep.outbox.consume ${name}`, attributes, fn),
    );
  }

  private async once(message: Message, effect: (message: Message) => Promise<void>): Promise<void> {
    await this.services.sql.transaction(
      async (tx) => {
        if (!(await this.services.inbox.once(tx, this.handler.route.consumer, message.id))) return;
        await effect(message);
        checkpoint('outbox.consumer.handled', { id: message.id });
      },
      { propagation: 'requires-new' },
    );
    checkpoint('outbox.consumer.committed', { id: message.id });
  }

  private judge(error: unknown, attempt: number): DeliveryOutcome {
    if (isLockstepError(error) && error.code === MESSAGE_REFUSED) return { outcome: 'dead', error };
    if (isNoFaultOfTheMessage(error)) return { outcome: 'postpone', delayMs: this.pauses.afterOutage(), error };
    if (attempt >= this.handler.options.attempts) return { outcome: 'dead', error };
    return { outcome: 'retry', delayMs: this.pauses.afterAttempt(attempt), error };
  }

  private report({ message, attempt }: Delivery, outcome: Exclude<DeliveryOutcome, { outcome: 'done' }>): void {
    const dead = outcome.outcome === 'dead';
    this.services.incidents.report({
      code: dead ? 'OUTBOX_MESSAGE_DEAD' : 'OUTBOX_MESSAGE_RETRIED',
      source: 'outbox.consumer',
      message: `${this.handler.name} ${dead ? 'gave a message up' : 'could not handle a message yet'}`,
      cause: outcome.error,
      fields: { ...this.handler.route, id: message.id, attempt },
    });
  }
}

/** Somebody else was at it, or a server was away, or nobody knows: the inbox will tell. None of it is poison. */
function isNoFaultOfTheMessage(error: unknown): boolean {
  if (!isLockstepError(error)) return false;
  return error.kind === 'busy' || error.kind === 'unavailable' || error.code === COMMIT_OUTCOME_UNKNOWN;
}
