import { type Incidents, monotonicMs, rested, StoreUnavailableError, untilAborted } from '@lockstep/core';
import { connect, type NatsConnection, type Status } from '@nats-io/transport-node';
import type { NatsSource } from '../nats.options.js';
import { Latch } from './latch.js';
import { isRefusal, isUnavailability, NoAnswerError } from './nats-errors.js';

const RECONNECT_MS = 250;
/** A server that holds its connections and says nothing is left after about three of these. */
const PING_MS = 5_000;

/** How much of the time of a command is left, in milliseconds, at least one. */
export type Remaining = () => number;

/**
 * The connection to NATS: connecting ⇄ up, either → closed. `connecting` lasts as long as the server is away, also when
 * the application starts; the client's own attempts go on for ever once it was up. Commands never wait for longer than
 * the command timeout, and nothing is written to a connection that is down: the client would drop it silently.
 */
export class NatsLink {
  private readonly latch = new Latch<NatsConnection>();
  private readonly closing = new AbortController();
  private readonly ended: Promise<void>;
  private isOutageReported = false;

  constructor(
    private readonly source: NatsSource,
    private readonly timeoutMs: number,
    private readonly incidents: Incidents,
  ) {
    this.ended = this.keep();
  }

  /** The connection while it is up. */
  get connection(): NatsConnection | undefined {
    return this.latch.value;
  }

  /** Rejects once the link is closed. */
  whenUp(): Promise<NatsConnection> {
    return this.latch.whenOpen();
  }

  /** Resolves when the connection is lost or closed; at once while it is down. */
  whenDown(): Promise<void> {
    return this.latch.whenShut();
  }

  /**
   * Runs a command within the command timeout. What the server refused for a reason of the command, and a fault within
   * it, pass as they are: they say nothing about other commands.
   *
   * @throws StoreUnavailableError `not-applied` when the server could not be reached or is not up, else `unknown`
   */
  async run<T>(operation: string, command: (nats: NatsConnection, remaining: Remaining) => Promise<T>): Promise<T> {
    const deadline = monotonicMs() + this.timeoutMs;
    const remaining = (): number => Math.max(1, Math.ceil(deadline - monotonicMs()));
    const nats = await this.connected(operation, remaining());
    try {
      return await within(command(nats, remaining), remaining());
    } catch (cause) {
      if (!isUnavailability(cause)) throw cause;
      const outcome = isRefusal(cause) ? 'not-applied' : 'unknown';
      throw new StoreUnavailableError({ store: 'nats', operation, outcome, cause });
    }
  }

  async close(): Promise<void> {
    const nats = this.latch.value;
    this.latch.destroy(new Error('the transport is closed'));
    if (nats !== undefined) await this.flush(nats);
    this.closing.abort();
    // An attempt to connect cannot be called off; it closes what it gets.
    await untilAborted(this.ended, AbortSignal.timeout(this.timeoutMs), () => undefined);
  }

  private async keep(): Promise<void> {
    while (!this.closing.signal.aborted) {
      try {
        await this.follow(await this.open());
      } catch (cause) {
        this.report('NATS_CONNECTION_FAILED', 'NATS cannot be reached', cause);
      }
      if (this.source.kind === 'connection') {
        this.latch.destroy(new Error('the connection was closed by its owner'));
        return;
      }
      await rested(RECONNECT_MS, this.closing.signal);
    }
  }

  private open(): Promise<NatsConnection> {
    if (this.source.kind === 'connection') return Promise.resolve(this.source.connection);
    return connect({
      reconnectTimeWait: RECONNECT_MS,
      pingInterval: PING_MS,
      noAsyncTraces: true,
      ...this.source.connect,
      timeout: this.timeoutMs,
      reconnect: true,
      maxReconnectAttempts: -1,
    });
  }

  /** Until the connection is closed, by us or because the client gave up. */
  private async follow(nats: NatsConnection): Promise<void> {
    const isOurs = this.source.kind === 'servers';
    const end = (): void => void (isOurs ? nats.close() : undefined);
    this.closing.signal.addEventListener('abort', end, { once: true });
    try {
      if (this.closing.signal.aborted) end();
      void this.watch(nats);
      // A given connection has no `info` while it is down.
      if (nats.info !== undefined) this.setUp(nats);
      const reason = await untilAborted(
        nats.closed(),
        isOurs ? new AbortController().signal : this.closing.signal,
        () => undefined,
      );
      if (reason instanceof Error && !this.closing.signal.aborted) throw reason;
    } finally {
      this.closing.signal.removeEventListener('abort', end);
      this.latch.setShut();
    }
  }

  private async watch(nats: NatsConnection): Promise<void> {
    for await (const status of nats.status()) {
      if (this.closing.signal.aborted) return;
      this.note(nats, status);
    }
  }

  private note(nats: NatsConnection, status: Status): void {
    if (status.type === 'reconnect') this.setUp(nats);
    if (status.type === 'error') this.report('NATS_ERROR', 'NATS reported an error', status.error);
    if (status.type !== 'disconnect' && status.type !== 'staleConnection') return;
    if (this.latch.value !== undefined) this.report('NATS_CONNECTION_LOST', 'the connection to NATS was lost', status);
    this.latch.setShut();
  }

  private setUp(nats: NatsConnection): void {
    this.isOutageReported = false;
    this.latch.setOpen(nats);
  }

  /** Once an outage: every further attempt would say the same. */
  private report(code: string, message: string, cause: unknown): void {
    if (this.isOutageReported || this.closing.signal.aborted) return;
    this.isOutageReported = code !== 'NATS_ERROR';
    this.incidents.report({ code, source: 'nats.connection', message, cause });
  }

  private async flush(nats: NatsConnection): Promise<void> {
    try {
      await within(nats.flush(), this.timeoutMs);
    } catch (cause) {
      this.incidents.report({
        code: 'NATS_CLOSED_UNFLUSHED',
        source: 'nats.connection',
        message: 'the connection was closed before the server had everything; unanswered messages come back',
        cause,
      });
    }
  }

  private async connected(operation: string, timeoutMs: number): Promise<NatsConnection> {
    try {
      return await within(this.latch.whenOpen(), timeoutMs);
    } catch (cause) {
      // Late, or closed for good.
      throw new StoreUnavailableError({ store: 'nats', operation, outcome: 'not-applied', cause });
    }
  }
}

async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswerError(timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
