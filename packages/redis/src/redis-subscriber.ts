import { type Incidents, StoreUnavailableError } from '@lockstep/core';
import { becomesReady } from './client/client-readiness.js';
import type { RedisClient } from './client/redis-client.js';
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

/**
 * Pub/sub on one connection of its own, opened when first needed: a subscribed connection falls under another output
 * limit of the server, and a large reply on it would cut the pushes off.
 *
 * ```
 * channel: absent --first listener--> subscribing --confirmed--> live --connection lost--> deaf --reconnected--> live
 *                                                                  live --last listener leaves--> absent
 * ```
 * Messages that were published while a channel was deaf are gone, so its listeners are told when it is live again.
 */
export class RedisSubscriber {
  private client: RedisClient | undefined;
  private readonly channels = new Map<string, Channel>();

  constructor(
    private readonly open: () => RedisClient,
    private readonly timeoutMs: number,
    private readonly incidents: Incidents,
  ) {}

  async subscribe(name: string, listener: Listener): Promise<() => Promise<void>> {
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

  close(): void {
    this.client?.disconnect();
    this.channels.clear();
  }

  private addChannel(name: string): Channel {
    const channel: Channel = { listeners: new Set(), confirmed: this.request(name) };
    this.channels.set(name, channel);
    return channel;
  }

  private async request(name: string): Promise<unknown> {
    this.client ??= this.connect();
    if (!(await becomesReady(this.client, this.timeoutMs))) {
      throw new StoreUnavailableError({ store: 'redis', operation: 'subscribe', outcome: 'not-applied' });
    }
    return this.client.call('subscribe', [name]);
  }

  private connect(): RedisClient {
    const client = this.open();
    let wasReady = false;
    client.on('error', (cause) => this.report('the connection for pushes failed', cause));
    client.on('message', (name, message) => this.deliver(String(name), String(message)));
    client.on('ready', () => {
      if (wasReady) this.resubscribe(client);
      wasReady = true;
    });
    // A Cluster resubscribes by itself when its nodes change, without saying when: better once too often.
    client.on('+node', () => this.tellResubscribed());
    return client;
  }

  private deliver(name: string, message: string): void {
    for (const listener of this.channels.get(name)?.listeners ?? []) listener.onMessage(message);
  }

  private resubscribe(client: RedisClient): void {
    const names = [...this.channels.keys()];
    if (names.length === 0) return;
    client.call('subscribe', names).then(
      () => this.tellResubscribed(),
      (cause: unknown) => this.report('channels could not be subscribed again', cause),
    );
  }

  private tellResubscribed(): void {
    for (const { listeners } of this.channels.values()) for (const listener of listeners) listener.onResubscribed();
  }

  private async leave(name: string, channel: Channel, listener: Listener): Promise<void> {
    channel.listeners.delete(listener);
    if (channel.listeners.size > 0 || this.channels.get(name) !== channel) return;
    this.channels.delete(name);
    // Without a connection the server has forgotten the channel already.
    if (this.client?.status !== 'ready') return;
    try {
      await this.client.call('unsubscribe', [name]);
    } catch (cause) {
      this.report('a channel could not be left', cause);
    }
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({ code: 'REDIS_CONNECTION', source: 'redis.subscriber', message, cause });
  }
}
