import {
  ConfigurationError,
  type DriverProvider,
  type Duration,
  durationMs,
  Incidents,
  monotonicMs,
} from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type {
  AcquireRequest,
  Busy,
  ExtendOutcome,
  ExtendRequest,
  Grant,
  LockState,
  LockStore,
  ReleaseOutcome,
  ReleaseRequest,
} from '../../lock-store.js';
import { type AcquisitionHost, LockAcquisition } from './lock-acquisition.js';
import { LockRevocations } from './lock-revocations.js';
import { type LockScripts, lockScripts } from './lock-scripts.js';

export interface RedisLockStoreOptions {
  /**
   * How long a key remembers its last fence after its lease. Within it fences rise even if the server's clock is set
   * back; after it they rise because the clock does.
   * @default '1h'
   */
  readonly fenceRetention?: Duration;
}

/**
 * Locks on the Redis of `RedisModule`.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `RedisModule` is not imported
 */
export function redisLockStore(options: RedisLockStoreOptions = {}): DriverProvider<LockStore> {
  const { fenceRetention = '1h' } = options;
  const fenceRetentionMs = durationMs(fenceRetention, 'fenceRetention', { minMs: 1_000 });
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }, Incidents],
    useFactory: (connection: RedisConnection | undefined, incidents: Incidents) => {
      if (connection) return new RedisLockStore(connection, incidents, fenceRetentionMs);
      throw new ConfigurationError('redisLockStore() needs RedisModule.forRoot(…) among the imports.');
    },
  };
}

/** One key for each lock, `token|fence|lease end|waiters`; one command for each operation; waiters are woken by push. */
export class RedisLockStore implements LockStore {
  readonly name = 'redis';
  readonly abilities = { expires: true, shares: 'none', queues: false } as const;
  private readonly scripts: LockScripts;
  private readonly revocations: LockRevocations;
  private readonly host: AcquisitionHost;
  private readonly waiting = new Set<LockAcquisition>();
  /** Tokens of which an earlier request may still arrive, with the server time from which on it is refused. */
  private readonly lateCopies = new Map<string, number>();

  constructor(
    private readonly connection: RedisConnection,
    incidents: Incidents,
    fenceRetentionMs: number,
  ) {
    this.scripts = lockScripts(connection, fenceRetentionMs);
    this.revocations = new LockRevocations(this.scripts.release, incidents);
    const { scripts, revocations, waiting } = this;
    const noteLateCopy = this.noteLateCopy.bind(this);
    this.host = { connection, scripts, revocations, waiting, noteLateCopy };
  }

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    const { signal } = request;
    const acquisition = new LockAcquisition(this.lockOf(request.key), request, this.host);
    if (!signal) return acquisition.run();
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        acquisition.giveUp();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      const settle = (outcome: Grant | Busy): void => {
        // A signal may abort between the grant and this line; then the grant has no taker.
        if (signal.aborted) acquisition.discard(outcome);
        resolve(outcome);
      };
      // Also after a failure: a signal that lives as long as the process would collect a listener for each.
      const leave = (): void => signal.removeEventListener('abort', abort);
      acquisition.run().finally(leave).then(settle, reject);
    });
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    const sentAt = monotonicMs();
    return Promise.all(requests.map((request) => this.extendOne(request, sentAt)));
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return Promise.all(requests.map((request) => this.releaseOne(request)));
  }

  async inspect(key: string): Promise<LockState> {
    const value = await this.connection.command('lock.inspect', 'get', this.lockOf(key));
    const [token, fence, end] = typeof value === 'string' ? value.split('|') : [];
    const remainingMs = Number(end ?? 0) - this.connection.serverTimeMs();
    const holders = token && remainingMs > 0 ? [{ token, remainingMs }] : [];
    return { holders, fence: fence === undefined ? undefined : BigInt(fence), waiters: 0 };
  }

  async close(): Promise<void> {
    for (const acquisition of this.waiting) acquisition.giveUp();
    await this.revocations.close();
  }

  private lockOf(key: string): string {
    return this.connection.key('lock', key);
  }

  private async extendOne({ key, token, ttlMs }: ExtendRequest, sentAt: number): Promise<ExtendOutcome> {
    try {
      const reply = await this.scripts.extend.run({ lock: this.lockOf(key), token, ttlMs });
      return reply === 'extended' ? { status: 'extended', deadline: sentAt + ttlMs } : { status: 'lost', cause: reply };
    } catch (error) {
      return { status: 'failed', error };
    }
  }

  private async releaseOne({ key, token, deadline }: ReleaseRequest): Promise<ReleaseOutcome> {
    const lock = this.lockOf(key);
    const notAfterMs = this.lateCopies.get(token) ?? 0;
    this.lateCopies.delete(token);
    try {
      const { isReleased, serverMs } = await this.scripts.release.run({ lock, token });
      if (serverMs <= notAfterMs) this.revocations.add({ lock, token, notAfterMs, uselessAt: deadline });
      return { status: isReleased ? 'released' : 'not-held' };
    } catch (error) {
      this.revocations.add({ lock, token, notAfterMs, uselessAt: deadline });
      return { status: 'failed', error };
    }
  }

  private noteLateCopy(token: string, notAfterMs: number): void {
    const serverMs = this.connection.serverTimeMs();
    for (const [noted, refusedFrom] of this.lateCopies) if (refusedFrom < serverMs) this.lateCopies.delete(noted);
    this.lateCopies.set(token, notAfterMs);
  }
}
