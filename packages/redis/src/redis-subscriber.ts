import { AsyncResource } from 'node:async_hooks';
import { type Incidents, StoreUnavailableError } from '@lockstep/core';
import { ClientReadiness } from './client/client-readiness.js';
import type { RedisClient } from './client/redis-client.js';
import { SilenceWatch } from './client/silence-watch.js';
import { commandError } from './redis.errors.js';

/** What one caller of `subscribe()` wants to hear. */
interface Listener {
  onMessage(message: string): void;
  onResubscribed(): void;
}

interface Channel {
  readonly listeners: Set<Listener>;
  /** Settles when the server has confirmed the subscription. */
  confirmed: Promise<unknown>;
}

interface Connection {
  readonly client: RedisClient;
  readonly readiness: ClientReadiness;
  readonly silence: SilenceWatch;
}

/** The server has been chosen, or is being chosen. */
const CONNECTING: ReadonlySet<string> = new Set(['connecting', 'connect']);

/**
 * Pub/sub on one connection of its own, opened when first needed: a subscribed connection falls under another output
 * limit of the server, and a large reply on it would cut the pushes off.
 *
 * ```
 * channel: absent --first listener--> subscribing --confirmed--> live --connection lost--> deaf --subscribed again--> live
 *                                                                  live --last listener leaves--> absent
 * ```
 * Messages that were published while a channel was deaf are gone, so its listeners are told when it is live again.
 */
export class RedisSubscriber {
  private connection: Connection | undefined;
  /** Whether the connection that is being made may lead to a server that is the master no longer. */
  private isStale = false;
  private isClosed = false;
  private readonly channels = new Map<string, Channel>();

  constructor(
    private readonly open: () => RedisClient,
    private readonly timeoutMs: number,
    private readonly incidents: Incidents,
  ) {}

  async subscribe(name: string, heard: Listener): Promise<() => Promise<void>> {
    // Messages arrive in the context of whoever subscribed first: another user's request, a transaction that has ended.
    const listener: Listener = {
      onMessage: AsyncResource.bind((message: string) => heard.onMessage(message)),
      onResubscribed: AsyncResource.bind(() => heard.onResubscribed()),
    };
    const channel = this.channels.get(name) ?? this.addChannel(name);
    channel.listeners.add(listener);
    try {
      await channel.confirmed;
    } catch (error) {
      await this.leave(name, channel, listener);
      throw commandError('subscribe', error);
    }
    return () => this.leave(name, channel, listener);
  }

  /**
   * Connects anew: the connection for commands was replaced, and this one may be half open too, or lead to a server that
   * is the master no longer, without noticing.
   */
  reconnect(): void {
    const { connection } = this;
    if (connection?.client.status === 'ready') connection.readiness.replaceConnection();
    // Where the client is only looking for the server, being told to leave would be its end.
    else this.isStale = connection !== undefined && CONNECTING.has(connection.client.status);
  }

  close(): void {
    this.isClosed = true;
    this.connection?.silence.stop();
    this.connection?.client.disconnect();
    this.channels.clear();
  }

  private addChannel(name: string): Channel {
    const channel: Channel = { listeners: new Set(), confirmed: this.request(name) };
    this.channels.set(name, channel);
    return channel;
  }

  private async request(name: string): Promise<unknown> {
    if (!this.isClosed) this.connection ??= this.connect();
    if (!this.connection || !(await this.connection.readiness.wait())) {
      throw new StoreUnavailableError({ store: 'redis', operation: 'subscribe', outcome: 'not-applied' });
    }
    return this.connection.client.call('subscribe', [name]);
  }

  private connect(): Connection {
    const client = this.open();
    const silence = new SilenceWatch({
      timeoutMs: this.timeoutMs,
      ask: () => this.askAgain(client),
      replace: (cause) => {
        this.report('the connection for pushes is half-open', cause);
        readiness.replaceConnection();
      },
    });
    client.on('error', (cause) => this.report('the connection for pushes failed', cause));
    client.on('message', (name, message) => {
      silence.heard();
      this.deliver(String(name), String(message));
    });
    let wasReady = false;
    client.on('ready', () => {
      silence.heard();
      const { isStale } = this;
      this.isStale = false;
      if (isStale) readiness.replaceConnection();
      else if (wasReady) void this.resubscribe(client);
      wasReady = true;
    });
    // After the listener above: nobody shall be told of a connection that is given up there.
    const readiness = new ClientReadiness(client, this.timeoutMs);
    // A Cluster resubscribes by itself when its nodes change, without saying when: better once too often.
    client.on('+node', () => this.tellResubscribed());
    return { client, readiness, silence };
  }

  /** Subscribes once more to a channel, which changes nothing and needs no further right. */
  private askAgain(client: RedisClient): Promise<unknown> | undefined {
    const [name] = this.channels.keys();
    return name === undefined || client.status !== 'ready' ? undefined : client.call('subscribe', [name]);
  }

  private deliver(name: string, message: string): void {
    for (const listener of this.channels.get(name)?.listeners ?? []) this.tell(() => listener.onMessage(message));
  }

  private async resubscribe(client: RedisClient): Promise<void> {
    const names = [...this.channels.keys()];
    if (names.length === 0) return;
    try {
      await client.call('subscribe', names);
      this.tellResubscribed();
    } catch (cause) {
      this.report('channels could not be subscribed again', cause);
      // Where the connection stands, nothing else would ever try again.
      if (client.status === 'ready') setTimeout(() => void this.resubscribe(client), this.timeoutMs).unref();
    }
  }

  private tellResubscribed(): void {
    for (const { listeners } of this.channels.values()) {
      for (const listener of listeners) this.tell(() => listener.onResubscribed());
    }
  }

  /** Thrown into the client, it would end the process and keep the message from the other listeners. */
  private tell(listen: () => unknown): void {
    const failed = (cause: unknown): void => this.report('a listener failed', cause);
    try {
      // An async function passes for a listener; its rejection must not go into the air.
      const result = listen();
      if (result instanceof Promise) result.catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }

  private async leave(name: string, channel: Channel, listener: Listener): Promise<void> {
    channel.listeners.delete(listener);
    if (channel.listeners.size > 0 || this.channels.get(name) !== channel) return;
    this.channels.delete(name);
    // Without a connection the server has forgotten the channel already.
    const client = this.connection?.client;
    if (client?.status !== 'ready') return;
    try {
      await client.call('unsubscribe', [name]);
    } catch (cause) {
      this.report('a channel could not be left', cause);
    }
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({ code: 'REDIS_CONNECTION', source: 'redis.subscriber', message, cause });
  }
}
