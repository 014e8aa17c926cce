import { count } from '@lockstep/core';
import type { AckSender } from '../ack/ack-sender.js';
import type { Message, MessageEnvelope } from '../message.js';
import { decodeMessage } from '../message-codec.js';
import type { Delivery, DeliveryOutcome } from '../message-transport.js';
import { acknowledge } from './acknowledge.js';
import { BlockedKeys } from './blocked-keys.js';
import { bury } from './burial.js';
import type { ConsumerServices } from './consumer-services.js';
import { placeOrNone, withoutEarly } from './early-messages.js';
import { isOutOfSequence, isOutOfTurn } from './gate.errors.js';
import { HandlerTransaction } from './handler-transaction.js';
import type { MessageHandler } from './message-handler.js';
import { RetryPauses } from './retry-pauses.js';
import { placeOf } from './turn.js';
import { inTurnOrder } from './turn-order.js';
import { isDecidedByGate, isNoFaultOfTheMessage, verdictOn } from './verdict.js';

const NOT_TRIED: DeliveryOutcome = {
  outcome: 'postpone',
  delayMs: 0,
  error: new Error('the application is shutting down'),
};

type Dead = Extract<DeliveryOutcome, { outcome: 'dead' }>;
type Outcomes = Map<Delivery, DeliveryOutcome>;

/**
 * One consumer of one topic. A delivery goes
 *
 * ```
 * delivered --inbox row is there already--> done (again acknowledged)
 *           --its turn, handler resolved, committed--> done
 *           --its turn, skipped, committed--> done
 *           --before its turn | busy | unavailable | conflict | lock timeout | commit unknown--> postpone, not counted
 *           --rejected--> retry, or dead after the last attempt
 *           --refused | unreadable | out of sequence | handed out too often without an answer--> dead
 * ```
 * and where the handler takes batches, those that come for the first time go together:
 * ```
 * batch --handler resolved, committed--> done --those before their turn were left out--> postpone
 *       --busy | unavailable | conflict | lock timeout | commit unknown--> postpone, all
 *       --rejected--> each on its own, as above
 * ```
 * `done` and `dead` are acknowledged. A lost acknowledgement of `done` is harmless, for the re-delivery finds the inbox
 * row; one of `dead` is not, so the delivery stays with the transport until it has arrived.
 */
export class MessageConsumer {
  private readonly pauses: RetryPauses;
  private readonly blocked: BlockedKeys;
  private readonly transaction: HandlerTransaction;
  private stopped = false;

  constructor(
    private readonly handler: MessageHandler,
    private readonly services: ConsumerServices,
    private readonly acks: AckSender,
  ) {
    this.pauses = new RetryPauses(handler.options);
    this.blocked = new BlockedKeys(handler.route.consumer, services.incidents);
    this.transaction = new HandlerTransaction(handler, services);
  }

  /** What of a running batch was not begun yet goes back: at shutdown, nobody waits for a hundred handlers. */
  stop(): void {
    this.stopped = true;
  }

  async handle(batch: readonly Delivery[]): Promise<readonly DeliveryOutcome[]> {
    const outcomes: Outcomes = new Map();
    const { due: ordered, early } = withoutEarly(
      inTurnOrder(batch, ({ message }) => message),
      this.blocked,
    );
    for (const [delivery, outcome] of early) this.note(delivery, outcome, outcomes);
    const first = this.handler.options.batch ? firstTimers(ordered) : new Map<Delivery, Message>();
    await this.oneByOne(
      ordered.filter((delivery) => !first.has(delivery)),
      outcomes,
    );
    const split = await this.together(first, outcomes);
    await this.oneByOne(split, outcomes);
    const ended: DeliveryOutcome[] = [];
    for (const delivery of batch) {
      const outcome = outcomes.get(delivery) ?? NOT_TRIED;
      ended.push(outcome.outcome === 'dead' ? await this.bury(delivery, outcome) : outcome);
    }
    this.countOutcomes(outcomes);
    await this.keepPlaces(outcomes);
    return acknowledge(batch, ended, this.handler.route.consumer, this.acks, this.services.incidents);
  }

  private async oneByOne(deliveries: readonly Delivery[], outcomes: Outcomes): Promise<void> {
    for (const delivery of deliveries) {
      if (this.stopped) return;
      this.note(delivery, await this.attempt(delivery), outcomes);
    }
  }

  private async attempt({ message: envelope, attempt }: Delivery): Promise<DeliveryOutcome> {
    const { attempts } = this.handler.options;
    let message: Message;
    try {
      message = readable(envelope);
    } catch (error) {
      return { outcome: 'dead', error };
    }
    try {
      await this.transaction.one(message, attempt, attempt <= attempts);
      return { outcome: 'done' };
    } catch (error) {
      return this.judge(await this.shown([message], error), attempt);
    }
  }

  /** Returns those that have to go each on its own, because together they failed. */
  private async together(first: ReadonlyMap<Delivery, Message>, outcomes: Outcomes): Promise<readonly Delivery[]> {
    const deliveries = [...first.keys()];
    if (first.size < 2 || this.stopped) return deliveries;
    const messages = [...first.values()];
    try {
      const left = await this.transaction.together(messages);
      for (const delivery of deliveries) {
        const why = left.get(delivery.message.id);
        this.note(delivery, why ? this.judge(why, delivery.attempt) : { outcome: 'done' }, outcomes);
      }
      return [];
    } catch (thrown) {
      const error = await this.shown(messages, thrown);
      if (!isNoFaultOfTheMessage(error)) return this.split(deliveries, error);
      const outcome = this.judge(error, 1);
      for (const delivery of deliveries) this.note(delivery, outcome, outcomes);
      return [];
    }
  }

  private split(deliveries: readonly Delivery[], cause: unknown): readonly Delivery[] {
    this.services.incidents.report({
      code: 'OUTBOX_BATCH_SPLIT',
      source: 'outbox.consumer',
      message: `${this.handler.name} could not handle a batch; its messages are handled one by one`,
      cause,
      fields: { ...this.handler.route, messages: deliveries.length },
    });
    return deliveries;
  }

  private async shown(messages: readonly Message[], error: unknown): Promise<unknown> {
    return isDecidedByGate(error) ? error : this.handler.filter(messages, error);
  }

  private judge(error: unknown, attempt: number): DeliveryOutcome {
    return verdictOn(error, attempt, this.handler.options.attempts, this.pauses, this.blocked);
  }

  private bury({ message }: Delivery, outcome: Dead): Promise<DeliveryOutcome> {
    return bury(this.services, this.handler.route.consumer, message, outcome);
  }

  private async keepPlaces(outcomes: Outcomes): Promise<void> {
    for (const [{ message }, { outcome }] of outcomes) {
      const place = outcome === 'retry' || outcome === 'postpone' ? placeOf(message) : undefined;
      // Where one cannot be written, the others would each wait for the same database.
      if (place && !(await this.services.gate.keep(this.handler.route.consumer, place))) return;
    }
  }

  private countOutcomes(outcomes: Outcomes): void {
    const numbers = new Map<DeliveryOutcome['outcome'], number>();
    for (const { outcome } of outcomes.values()) numbers.set(outcome, (numbers.get(outcome) ?? 0) + 1);
    const { topic, consumer } = this.handler.route;
    for (const [outcome, number] of numbers) count('lockstep.outbox.consumed', { topic, consumer, outcome }, number);
  }

  private note(delivery: Delivery, outcome: DeliveryOutcome, outcomes: Outcomes): void {
    outcomes.set(delivery, outcome);
    if (outcome.outcome === 'done') this.succeeded(delivery);
    else this.report(delivery, outcome);
  }

  private succeeded(delivery: Delivery): void {
    this.pauses.answered();
    const place = this.blocked.isEmpty ? undefined : placeOrNone(delivery);
    if (place) this.blocked.moved(place);
  }

  /** That a message came before its turn is no failure; for how long its key waits is watched elsewhere. */
  private report({ message, attempt }: Delivery, outcome: Exclude<DeliveryOutcome, { outcome: 'done' }>): void {
    if (isOutOfTurn(outcome.error)) return;
    const dead = outcome.outcome === 'dead';
    const common = {
      source: 'outbox.consumer',
      cause: outcome.error,
      fields: { ...this.handler.route, id: message.id, attempt },
    };
    if (isOutOfSequence(outcome.error)) {
      const what = 'a strict message came after its turn and is unknown: a counter or a position was lost or restored';
      this.services.incidents.report({ ...common, code: 'OUTBOX_MESSAGE_OUT_OF_SEQUENCE', message: what });
    }
    this.services.incidents.report({
      ...common,
      code: dead ? 'OUTBOX_MESSAGE_DEAD' : 'OUTBOX_MESSAGE_RETRIED',
      message: `${this.handler.name} ${dead ? 'gave a message up' : 'could not handle a message yet'}`,
    });
  }
}

/** @throws SyntaxError, MessageRefusedError */
function readable(envelope: MessageEnvelope): Message {
  placeOf(envelope);
  return decodeMessage(envelope);
}

/**
 * Those that may go together. What comes again goes alone: it failed before, or was there when a process died, and would
 * take the others with it. So do the copies of one message, and what cannot be read.
 */
function firstTimers(deliveries: readonly Delivery[]): ReadonlyMap<Delivery, Message> {
  const first = new Map<Delivery, Message>();
  const ids = new Set<string>();
  for (const delivery of deliveries) {
    const message = delivery.attempt === 1 ? readableOrNone(delivery.message) : undefined;
    if (!message || ids.has(message.id)) continue;
    ids.add(message.id);
    first.set(delivery, message);
  }
  return first;
}

function readableOrNone(envelope: MessageEnvelope): Message | undefined {
  try {
    return readable(envelope);
  } catch {
    // On its own it is read again, and given up for it.
    return undefined;
  }
}
