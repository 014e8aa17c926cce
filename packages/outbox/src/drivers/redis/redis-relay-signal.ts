import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { type DriverProvider, Incidents } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../../outbox.options.js';
import type { RelaySignal, RelaySignalListener } from '../../relay-signal.js';
import { Announcements, announcementText, readAnnouncement } from '../announcements.js';

/**
 * {@link RelaySignal} by pub/sub of Redis, on the channel `<namespace>:outbox-wake:{<origin>}`. Also on a Cluster a plain
 * PUBLISH: announcements are few and small, and relays need not care which node the channel belongs to.
 */
export class RedisRelaySignal implements RelaySignal {
  private readonly self = randomBytes(9).toString('base64url');
  private readonly channel: string;
  private readonly announcements = new Announcements((shards) => this.send(shards));
  /** Neither in the trace nor in the request of whoever happened to commit. */
  private readonly outside = AsyncLocalStorage.snapshot();

  constructor(
    private readonly redis: RedisConnection,
    { origin }: Pick<ResolvedOutboxOptions, 'origin'>,
    private readonly incidents: Incidents,
  ) {
    this.channel = redis.key('outbox-wake', origin);
  }

  announce(shards: readonly number[]): void {
    this.outside(() => this.announcements.add(shards));
  }

  subscribe(listener: RelaySignalListener): Promise<() => Promise<void>> {
    return this.redis.subscribe(
      this.channel,
      (text) => {
        const heard = readAnnouncement(text, this.self);
        if (heard) listener(heard.shards);
      },
      () => listener(undefined),
    );
  }

  private async send(shards: readonly number[]): Promise<void> {
    try {
      await this.redis.command('outbox.announce', 'publish', this.channel, announcementText(this.self, shards));
    } catch (cause) {
      this.incidents.report({
        code: 'OUTBOX_SIGNAL_FAILED',
        source: 'outbox.redis',
        message: 'other relays were not woken; they find the messages when they look by themselves',
        cause,
      });
    }
  }
}

/** Wakes the relays of other processes through the Redis of `RedisModule`. */
export function redisRelaySignal(): DriverProvider<RelaySignal> {
  return {
    inject: [RedisConnection, OUTBOX_OPTIONS, Incidents],
    useFactory: (redis: RedisConnection, options: ResolvedOutboxOptions, incidents: Incidents) =>
      new RedisRelaySignal(redis, options, incidents),
  };
}
