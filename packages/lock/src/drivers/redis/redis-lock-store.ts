import { type Incidents, monotonicMs } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';
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
import { acquireChain } from './chained-acquisition.js';
import { type AcquisitionHost, LockAcquisition } from './lock-acquisition.js';
import { LockEchoes } from './lock-echoes.js';
import { LockPushes } from './lock-pushes.js';
import { type LockRevocations, lockRevocations } from './lock-revocations.js';
import { type LockScripts, lockScripts } from './lock-scripts.js';
import { readLockState } from './lock-value.js';
import type { ResolvedRedisLockOptions } from './redis-lock.options.js';
import { ReplicaConfirmation } from './replica-confirmation.js';

/**
 * One key for each lock, with its holders and its queue; one command for each operation. A release hands the lock to
 * who waits longest and pushes the grant, so that nobody polls.
 *
 * ```
 * free --acquire--> held --extend--> held
 *                        --release--> handed to the first that waits and lives --> held (short lease, until confirmed)
 *                        --lease end--> free for whoever asks first; those who wait have a timer, and ask then
 * ```
 */
export class RedisLockStore implements LockStore {
  readonly name = 'redis';
  readonly abilities = { expires: true, shares: 'any', queues: true } as const;
  private readonly scripts: LockScripts;
  private readonly revocations: LockRevocations;
  private readonly host: AcquisitionHost;
  private readonly waiting = new Set<LockAcquisition>();
  private readonly confirmation: ReplicaConfirmation | undefined;
  private readonly echoes = new LockEchoes();

  /** @throws ConfigurationError when replicas are asked for on a Cluster */
  constructor(
    private readonly connection: RedisConnection,
    incidents: Incidents,
    options: ResolvedRedisLockOptions,
  ) {
    const { waiting } = this;
    this.scripts = lockScripts(connection, options.fenceRetentionMs);
    const revocations = lockRevocations(this.scripts.revoke, incidents);
    this.revocations = revocations;
    const pushes = new LockPushes(connection, ({ lock, token }) => {
      if (this.echoes.has(token)) return;
      revocations.add({ lock, token, notAfterMs: 0, uselessAt: monotonicMs() });
    });
    const noteEcho = this.echoes.note.bind(this.echoes);
    this.host = { connection, scripts: this.scripts, revocations, pushes, waiting, noteEcho, isClosed: false };
    if (options.replicas) this.confirmation = new ReplicaConfirmation(this, connection, options.replicas);
  }

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    return this.confirmation ? this.askAndConfirm(request, this.confirmation) : this.ask(request);
  }

  async acquirePrefix(requests: readonly AcquireRequest[]): Promise<readonly (Grant | Busy)[] | undefined> {
    const locks = requests.map(({ key }) => this.lockOf(key));
    // Replicas are asked for one grant at a time.
    if (this.confirmation || !this.connection.sharesSlot(locks)) return undefined;
    return acquireChain(locks, requests, this.host);
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    const sentAt = monotonicMs();
    const outcomes = await this.extendUnconfirmed(requests, sentAt);
    return this.confirmation ? this.confirmation.confirmExtended(outcomes, sentAt) : outcomes;
  }

  /** The same, though replicas may not have it yet. */
  extendUnconfirmed(requests: readonly ExtendRequest[], sentAt: number): Promise<readonly ExtendOutcome[]> {
    return Promise.all(requests.map((request) => this.extendOne(request, sentAt)));
  }

  release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return Promise.all(requests.map((request) => this.releaseOne(request)));
  }

  async inspect(key: string): Promise<LockState> {
    const value = await this.connection.command('lock.inspect', 'get', this.lockOf(key));
    return readLockState(value, this.connection.serverTimeMs());
  }

  async close(): Promise<void> {
    this.host.isClosed = true;
    for (const acquisition of this.waiting) acquisition.giveUp();
    await this.revocations.close();
  }

  private ask(request: AcquireRequest): Promise<Grant | Busy> {
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
        if (signal.aborted) {
          acquisition.discard(outcome);
          this.echoes.take(request.token);
        }
        resolve(outcome);
      };
      // Also after a failure: a signal that lives as long as the process would collect a listener for each.
      const leave = (): void => signal.removeEventListener('abort', abort);
      acquisition.run().finally(leave).then(settle, reject);
    });
  }

  private async askAndConfirm(request: AcquireRequest, confirmation: ReplicaConfirmation): Promise<Grant | Busy> {
    const outcome = await this.ask(request);
    return outcome.status === 'busy' ? outcome : confirmation.confirm(request, outcome);
  }

  private lockOf(key: string): string {
    return this.connection.key('lock', key);
  }

  private async extendOne({ key, token, ttlMs }: ExtendRequest, sentAt: number): Promise<ExtendOutcome> {
    try {
      const reply = await this.scripts.extend.run({ lock: this.lockOf(key), token, ttlMs });
      if (reply === 'extended') {
        this.echoes.extend(token, sentAt + ttlMs);
        return { status: 'extended', deadline: sentAt + ttlMs };
      }
      this.echoes.take(token);
      return { status: 'lost', cause: reply };
    } catch (error) {
      return { status: 'failed', error };
    }
  }

  private async releaseOne({ key, token, deadline }: ReleaseRequest): Promise<ReleaseOutcome> {
    const lock = this.lockOf(key);
    const notAfterMs = this.echoes.take(token);
    try {
      // While a copy of the request may still arrive, the release must know whether it came after that.
      const script = notAfterMs > 0 ? this.scripts.revoke : this.scripts.release;
      const { isReleased, serverMs } = await script.run({ lock, token });
      if (notAfterMs > 0 && serverMs <= notAfterMs)
        this.revocations.add({ lock, token, notAfterMs, uselessAt: deadline });
      return { status: isReleased ? 'released' : 'not-held' };
    } catch (error) {
      this.revocations.add({ lock, token, notAfterMs, uselessAt: deadline });
      return { status: 'failed', error };
    }
  }
}
