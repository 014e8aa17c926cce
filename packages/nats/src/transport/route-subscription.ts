import { setMaxListeners } from 'node:events';
import { type Incidents, monotonicMs, type Permits, rested, untilAborted } from '@lockstep/core';
import type { BatchHandler, ConsumeOptions, TransportSubscription } from '@lockstep/outbox';
import { type Msg, type NatsConnection, nanos } from '@nats-io/transport-node';
import type { NatsLink } from '../server/nats-link.js';
import type { RouteNames } from '../server/route-names.js';
import type { RouteStreams } from '../server/route-streams.js';
import { Answers } from './answers.js';
import { Dispatcher } from './dispatcher.js';
import { decodeMessage } from './message-form.js';
import { Notes } from './notes.js';
import { type DeliveryTicket, Parcel, ticketOf } from './parcel.js';
import { PullSession } from './pull-session.js';

const AGAIN_MS = 250;
const UNREADABLE_AGAIN_MS = 60_000;
/** While one batch is in hand the next is on its way. */
const BATCHES_AHEAD = 2;

export interface RouteSubscriptionInit {
  readonly link: NatsLink;
  readonly streams: RouteStreams;
  readonly names: RouteNames;
  readonly handler: BatchHandler;
  readonly options: ConsumeOptions;
  readonly ackWaitMs: number;
  readonly commandTimeoutMs: number;
  readonly quarantine: Permits;
  readonly incidents: Incidents;
}

/**
 * One handler on one route: away ⇄ pulling → closed. `away` while the server, the stream or the consumer is not there;
 * each is waited for, or made. Messages that are in hand stay there when the server goes, and their answers follow when
 * it is back; if it delivers one again meanwhile, it is recognised and not handed over a second time.
 */
export class RouteSubscription implements TransportSubscription {
  private readonly held = new Map<string, Parcel>();
  private readonly dispatcher: Dispatcher;
  private readonly closing = new AbortController();
  private readonly giveUp = new AbortController();
  private readonly heartbeat: NodeJS.Timeout;
  private readonly pulling: Promise<void>;
  private session: PullSession | undefined;
  private isRefillPlanned = false;
  private isAwayReported = false;
  private closed: Promise<void> | undefined;

  constructor(private readonly init: RouteSubscriptionInit) {
    const { link, names, incidents } = init;
    setMaxListeners(0, this.closing.signal, this.giveUp.signal);
    this.dispatcher = new Dispatcher({
      handler: init.handler,
      options: init.options,
      answers: new Answers(link, new Notes(link, names), this.closing.signal, incidents),
      quarantine: init.quarantine,
      closing: this.closing.signal,
      giveUp: this.giveUp.signal,
      incidents,
      release: (parcel) => this.release(parcel),
    });
    this.heartbeat = setInterval(() => this.stayAlive(), init.ackWaitMs / 3).unref();
    this.pulling = this.pull();
  }

  close(signal?: AbortSignal): Promise<void> {
    this.closed ??= this.stop();
    if (signal?.aborted) this.giveUp.abort();
    else signal?.addEventListener('abort', () => this.giveUp.abort(), { once: true });
    return this.closed;
  }

  private async stop(): Promise<void> {
    this.closing.abort();
    const { link, commandTimeoutMs } = this.init;
    if (link.connection !== undefined && this.session !== undefined) {
      await untilAborted(this.session.close(), AbortSignal.timeout(commandTimeoutMs), () => undefined);
    }
    this.session?.end('closed');
    await this.pulling;
    await this.dispatcher.drain();
    clearInterval(this.heartbeat);
  }

  private async pull(): Promise<void> {
    const { signal } = this.closing;
    while (!signal.aborted) {
      try {
        const nats = await untilAborted(this.init.link.whenUp(), signal, () => undefined);
        if (nats === undefined) return;
        await this.pullFrom(nats);
      } catch (cause) {
        this.reportAway(cause);
      }
      await rested(AGAIN_MS, signal);
    }
  }

  private async pullFrom(nats: NatsConnection): Promise<void> {
    const { link, streams, names } = this.init;
    const consumer = await link.run('transport.consume', (connection, remaining) =>
      streams.ensureConsumer(connection, names, remaining),
    );
    if (this.closing.signal.aborted) return;
    const window = this.init.options.concurrency * this.init.options.batchSize * BATCHES_AHEAD;
    const session = new PullSession({
      nats,
      stream: names.stream,
      consumer,
      room: () => window - this.held.size,
      deliver: (message) => this.receive(nats, message),
    });
    this.session = session;
    this.isAwayReported = false;
    session.refill();
    // The server forgets what a lost connection asked for.
    void link.whenDown().then(() => session.end('the connection was lost'));
    const reason = await session.ended;
    if (!this.closing.signal.aborted) this.reportAway(new Error(reason));
  }

  private receive(nats: NatsConnection, message: Msg): void {
    try {
      const ticket = ticketOf(message);
      if (this.isHeld(ticket)) return;
      const parcel = new Parcel(decodeMessage(message.data), ticket);
      this.held.set(ticket.identity, parcel);
      this.dispatcher.add(parcel);
    } catch (cause) {
      // A newer version may have written it, and one of its processes may take it.
      message.respond(`-NAK ${JSON.stringify({ delay: nanos(UNREADABLE_AGAIN_MS) })}`);
      const text = `${this.init.names.stream}: a message cannot be read; it is left for others (${nats.getServer()})`;
      this.init.incidents.report({ code: 'MESSAGE_UNREADABLE', source: 'nats.transport', message: text, cause });
    }
  }

  /** Whether the message is in hand already: the server delivers it again when it has not heard of it for too long. */
  private isHeld(ticket: DeliveryTicket): boolean {
    const known = this.held.get(ticket.identity);
    if (known === undefined) return false;
    // One that was given back and whose time has come is delivered for good.
    known.isReplaced = known.backFrom !== undefined && monotonicMs() >= known.backFrom;
    if (!known.isReplaced) known.adopt(ticket);
    return !known.isReplaced;
  }

  private release(parcel: Parcel): void {
    const { identity } = parcel.ticket;
    if (this.held.get(identity) === parcel) this.held.delete(identity);
    if (this.isRefillPlanned) return;
    this.isRefillPlanned = true;
    // Later, once for all messages of a batch.
    setImmediate(() => {
      this.isRefillPlanned = false;
      if (this.init.link.connection !== undefined) this.session?.refill();
    });
  }

  private stayAlive(): void {
    const nats = this.init.link.connection;
    if (nats === undefined || nats.isClosed()) return;
    for (const { backFrom, ticket } of this.held.values()) {
      // For one on its way back it would cut its delay short.
      if (backFrom === undefined) nats.publish(ticket.reply, '+WPI');
    }
  }

  private reportAway(cause: unknown): void {
    if (this.isAwayReported || this.closing.signal.aborted) return;
    this.isAwayReported = true;
    const message = `${this.init.names.stream}: no messages come at the moment; it is tried again`;
    this.init.incidents.report({ code: 'SUBSCRIPTION_AWAY', source: 'nats.transport', message, cause });
  }
}
