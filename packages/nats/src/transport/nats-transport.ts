import { type Incidents, Permits } from '@lockstep/core';
import type {
  BatchHandler,
  ConsumeOptions,
  MessageEnvelope,
  MessageRoute,
  MessageTransport,
  PublishOutcome,
  TransportSubscription,
} from '@lockstep/outbox';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type { ResolvedNatsOptions } from '../nats.options.js';
import { API_ERROR, hadNoResponders, isApiError } from '../server/nats-errors.js';
import type { NatsLink, Remaining } from '../server/nats-link.js';
import { messageSubject, type RouteNames, routeNames } from '../server/route-names.js';
import { RouteStreams } from '../server/route-streams.js';
import { encodeMessage, unwritable } from './message-form.js';
import { RouteSubscription } from './route-subscription.js';

const ACCEPTED: PublishOutcome = { outcome: 'accepted' };
/**
 * A limit of one message a subject would do the same, but it would refuse the next note about a message too, and its
 * refusal has the number of every other limit.
 */
const NO_COPY = { lastSubjectSequence: 0 };

/**
 * {@link MessageTransport} on NATS JetStream: one stream a route, kept as a work queue, with one durable consumer; one
 * message of the stream for one of the outbox. A message that is published while it waits there is not stored again:
 *
 * ```
 * not there --published--> waits --acknowledged--> not there
 *                          waits --published again--> waits, as it was: accepted, in its place and with its attempts
 * ```
 */
export class NatsTransport implements MessageTransport {
  private readonly streams: RouteStreams;
  private readonly subscriptions = new Set<RouteSubscription>();
  private readonly quarantine = new Permits(1);
  private closed: Promise<void> | undefined;

  constructor(
    private readonly link: NatsLink,
    private readonly options: ResolvedNatsOptions,
    private readonly incidents: Incidents,
  ) {
    this.streams = new RouteStreams(options.replicas, options.ackWaitMs);
  }

  async publish(route: MessageRoute, messages: readonly MessageEnvelope[]): Promise<readonly PublishOutcome[]> {
    if (messages.length === 0) return [];
    const names = routeNames(this.options.namespace, route);
    return this.link.run('transport.publish', async (nats, remaining) => {
      const outcomes = messages.map((message) => this.prepared(message, nats, names));
      await this.streams.ensure(nats, names, remaining);
      try {
        await this.send(nats, outcomes, remaining);
      } catch (error) {
        if (!hadNoResponders(error)) throw error;
        // The server lost the stream, with everything that it had accepted.
        this.streams.forget(names);
        await this.streams.ensure(nats, names, remaining);
        await this.send(nats, outcomes, remaining);
      }
      return outcomes.map((outcome) => ('bytes' in outcome ? ACCEPTED : outcome));
    });
  }

  async consume(route: MessageRoute, handler: BatchHandler, options: ConsumeOptions): Promise<TransportSubscription> {
    const { ackWaitMs, commandTimeoutMs, namespace } = this.options;
    const subscription = new RouteSubscription({
      link: this.link,
      streams: this.streams,
      names: routeNames(namespace, route),
      handler,
      options,
      ackWaitMs,
      commandTimeoutMs,
      quarantine: this.quarantine,
      incidents: this.incidents,
    });
    this.subscriptions.add(subscription);
    return {
      close: async (signal) => {
        await subscription.close(signal);
        this.subscriptions.delete(subscription);
      },
    };
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const atOnce = AbortSignal.abort();
    await Promise.all([...this.subscriptions].map((subscription) => subscription.close(atOnce)));
    this.subscriptions.clear();
    await this.link.close();
  }

  /** What to send, or why there is nothing. */
  private prepared(message: MessageEnvelope, nats: NatsConnection, names: RouteNames): Prepared {
    const reason = unwritable(message);
    if (reason !== undefined) return rejected(reason);
    const bytes = encodeMessage(message);
    const { maxMessageBytes } = this.options;
    if (bytes.length > maxMessageBytes) {
      return rejected(`the message has ${bytes.length} bytes; maxMessageBytes is ${maxMessageBytes}`);
    }
    const limit = nats.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (bytes.length > limit) return rejected(`the message has ${bytes.length} bytes; the server takes ${limit}`);
    return { subject: messageSubject(names, message.id), bytes };
  }

  /** All at a time; the server answers for each. One that it refuses for good takes the refusal's place. */
  private async send(nats: NatsConnection, prepared: Prepared[], remaining: Remaining): Promise<void> {
    const client = jetstream(nats);
    const timeout = remaining();
    const sent = prepared.map(async (letter, index) => {
      if (!('bytes' in letter)) return;
      try {
        await client.publish(letter.subject, letter.bytes, { timeout, expect: NO_COPY });
      } catch (error) {
        if (isApiError(error, API_ERROR.wrongLastSequence)) return;
        if (!isApiError(error, API_ERROR.messageTooLarge)) throw error;
        prepared[index] = rejected('the message is larger than its stream allows');
      }
    });
    const failed = (await Promise.allSettled(sent)).find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

interface Letter {
  readonly subject: string;
  readonly bytes: Uint8Array;
}

type Prepared = Letter | Extract<PublishOutcome, { outcome: 'rejected' }>;

function rejected(reason: string): Extract<PublishOutcome, { outcome: 'rejected' }> {
  return { outcome: 'rejected', reason };
}
