import type { MessageEnvelope } from './message.js';

/**
 * One consumer's share of a topic: what a broker would call a queue. Both names are made of lower-case letters, digits,
 * `.`, `_` and `-`, begin with a letter or digit and have at most 64 characters, so a driver that joins them needs a
 * separator outside of that set.
 */
export interface MessageRoute {
  readonly topic: string;
  readonly consumer: string;
}

/**
 * What became of one message of a publish call. `rejected` is final: the message itself cannot travel (too large, not
 * serialisable for this broker), and trying again would not help.
 */
export type PublishOutcome =
  | { readonly outcome: 'accepted' }
  | { readonly outcome: 'rejected'; readonly reason: string };

/** One message handed to a consumer, and the how-manieth time. */
export interface Delivery {
  readonly message: MessageEnvelope;
  /**
   * Starts at 1 and counts every time that this message was handed to a handler since it was accepted, also when the
   * process died before it answered; only deliveries answered with `postpone` are left out. Counted per message: the
   * failure of a neighbour in the batch leaves it unchanged.
   */
  readonly attempt: number;
}

/**
 * What the consumer decided about one delivery. `done` and `dead` end the message for this transport; `retry` and
 * `postpone` bring it back, not before `delayMs` have passed. `postpone` is for reasons outside of the message (a
 * database that is down): the delivery is not counted, so that an outage never looks like a poisonous message.
 */
export type DeliveryOutcome =
  | { readonly outcome: 'done' }
  | { readonly outcome: 'retry'; readonly delayMs: number; readonly error: unknown }
  | { readonly outcome: 'postpone'; readonly delayMs: number; readonly error: unknown }
  | { readonly outcome: 'dead'; readonly error: unknown };

/**
 * Handles some deliveries and answers for each, in the order given. Must not reject; when it does, or answers for
 * another number of deliveries, the transport treats every delivery of the batch as `retry` after one second.
 */
export type BatchHandler = (batch: readonly Delivery[]) => Promise<readonly DeliveryOutcome[]>;

export interface ConsumeOptions {
  /** How many batches of this subscription run at a time, at most. */
  readonly concurrency: number;
  /** How many deliveries a batch holds, at most. */
  readonly batchSize: number;
}

export interface TransportSubscription {
  /**
   * Starts no further batch and waits for those that run, at most until `signal` aborts; what was not answered by then
   * is delivered again, here or elsewhere. A second call waits for the same end.
   */
  close(signal?: AbortSignal): Promise<void>;
}

/**
 * Port: carries messages from the relay to the consumers. An alarm clock with luggage, not a record: the rows of the
 * outbox are the truth, so a transport that loses everything delays messages and loses none whose topic is `until-ack`.
 *
 * Contract:
 * - `publish` answers for every message, in the order given. `accepted` means that the message will be delivered unless
 *   the transport loses its data. It rejects with `StoreUnavailableError` when the broker did not answer; then any of
 *   the messages may have been accepted, and the caller publishes them again. It settles within the driver's own
 *   command timeout and never waits for a broker to come back.
 * - A message is delivered at least once to one of the subscriptions of its route, wherever they run; a route without a
 *   subscription keeps its messages until there is one. Routes know nothing of each other: the same message published
 *   to two routes is delivered on both.
 * - Publishing a message whose id still waits on the route may be merged with it. Publishing one that was answered with
 *   `done` or `dead` must deliver it anew: the inbox, not the transport, recognises duplicates, and they must reach the
 *   consumer so that it can acknowledge them.
 * - The transport never gives a message up by itself and keeps no dead letters: it delivers with a growing `attempt`
 *   until the consumer answers `done` or `dead`. A delivery whose process died or stalled comes back as well, alone if
 *   the transport suspects it of having killed the process.
 * - In a batch, one `retry` or `postpone` affects that message alone: the others are not run again because of it.
 * - Messages of one route are delivered in the order in which they were accepted, as far as retries, concurrency and
 *   several processes allow.
 * - A message that comes back may hold up later ones of its key, but none that stands before it in the sequence of a
 *   strict key (header `Lockstep-Sequence`): the consumer postpones a strict message until its predecessor took effect.
 *   `inTurnOrder` sorts them.
 * - `id`, `topic`, `key`, `payload`, `headers` and `publishedAt` arrive as they were given.
 * - `close` closes all subscriptions and the connections that the driver opened itself. Nothing is published after it.
 *
 * What a driver swallows (a lost connection that it re-establishes, a batch handler that rejected) it reports as an
 * incident.
 */
export interface MessageTransport {
  publish(route: MessageRoute, messages: readonly MessageEnvelope[]): Promise<readonly PublishOutcome[]>;
  consume(route: MessageRoute, handler: BatchHandler, options: ConsumeOptions): Promise<TransportSubscription>;
  close(): Promise<void>;
}

export const MESSAGE_TRANSPORT = Symbol('@lockstep/outbox:MESSAGE_TRANSPORT');
