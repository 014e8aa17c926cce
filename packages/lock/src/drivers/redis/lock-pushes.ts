import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import type { RedisConnection } from '@lockstep/redis';

/** Second part of the channels' names: `<namespace>:lock-push:<process>`. */
export const PUSH_CHANNEL = 'lock-push';

/** What a server says to a waiter. */
export interface LockPush {
  /** The Redis key. */
  readonly lock: string;
  readonly token: string;
  /** Of the grant; undefined when the waiter shall only ask again. */
  readonly fence: bigint | undefined;
  /** The server's clock when it was sent. */
  readonly serverMs: number;
  /** Length of the granted lease, or how long to let pass before asking again. */
  readonly ms: number;
}

export interface PushListener {
  onPush(push: LockPush): void;
  /** What was pushed in the meantime is lost. */
  onDeaf(): void;
}

/**
 * The channel on which this process hears of the locks that it waits for. It is subscribed when a first call has to
 * wait, and kept: a subscription for each waiter would be a command more.
 *
 * ```
 * closed --open()--> opening --confirmed--> open
 *                            --failed--> closed
 * ```
 */
export class LockPushes {
  /** Where servers reach this process; in each of its requests that wait. */
  readonly process = randomBytes(9).toString('base64url');
  isOpen = false;
  private opening: Promise<void> | undefined;
  /** What is pushed belongs to many requests, so it must not run in the context of the one that waited first. */
  private readonly outside = AsyncLocalStorage.snapshot();
  private readonly listeners = new Map<string, PushListener>();

  constructor(
    private readonly connection: RedisConnection,
    /** A grant for a token that nobody waits for. */
    private readonly onStray: (push: LockPush) => void,
  ) {}

  /** @throws StoreUnavailableError when the server does not confirm in time, or refuses this user its channels */
  open(): Promise<void> {
    this.opening ??= this.outside(() => this.subscribe());
    return this.opening;
  }

  /** To be called before the request is sent: the push may overtake its answer. */
  listen(token: string, listener: PushListener): void {
    this.listeners.set(token, listener);
  }

  leave(token: string): void {
    this.listeners.delete(token);
  }

  private async subscribe(): Promise<void> {
    const channel = `${this.connection.namespace}:${PUSH_CHANNEL}:${this.process}`;
    let leave: (() => Promise<void>) | undefined;
    try {
      leave = await this.connection.subscribe(
        channel,
        (message) => this.deliver(message),
        () => this.tellDeaf(),
      );
      // Publishing happens inside scripts, where a missing right would show only as waiters that are never woken.
      await this.connection.command('lock.push', 'publish', channel, '');
      this.isOpen = true;
    } catch (error) {
      await leave?.();
      this.opening = undefined;
      throw error;
    }
  }

  private deliver(message: string): void {
    const [token = '', fence = '0', serverUs = '0', ms = '0', ...lock] = message.split(',');
    if (token === '') return;
    const push: LockPush = {
      lock: lock.join(','),
      token,
      fence: fence === '0' ? undefined : BigInt(fence),
      serverMs: Number(serverUs) / 1_000,
      ms: Number(ms),
    };
    const listener = this.listeners.get(token);
    if (listener) listener.onPush(push);
    else if (push.fence !== undefined) this.onStray(push);
  }

  private tellDeaf(): void {
    for (const listener of [...this.listeners.values()]) listener.onDeaf();
  }
}
