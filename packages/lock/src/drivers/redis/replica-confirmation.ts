import { isLockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { RedisConnection, ReplicaBarrier, ReplicaBarrierOptions } from '@lockstep/redis';
import type { AcquireRequest, ExtendOutcome, ExtendRequest, Grant, LockStore } from '../../lock-store.js';

interface ConfirmedStore extends Pick<LockStore, 'release'> {
  extendUnconfirmed(requests: readonly ExtendRequest[], sentAt: number): Promise<readonly ExtendOutcome[]>;
}

/**
 * Lets a grant, or an extension, count only when enough replicas have it.
 *
 * ```
 * granted --extended by this process--> written last by us --replicas have it--> granted
 *                                                          --not in time--> given back, unavailable
 * extended --replicas have it--> extended
 *          --not in time--> failed (tried again by the holder, who counts on the time before)
 * ```
 * A grant is extended first where it was pushed, because it was then written by whoever released the lock, and where the
 * connection was replaced meanwhile, because the server may be another.
 */
export class ReplicaConfirmation {
  private readonly barrier: ReplicaBarrier;

  constructor(
    private readonly store: ConfirmedStore,
    private readonly connection: RedisConnection,
    options: ReplicaBarrierOptions,
  ) {
    this.barrier = connection.replicaBarrier(options);
  }

  /** @throws StoreUnavailableError `not-applied`, having given the lock back */
  async confirm({ key, token, ttlMs }: AcquireRequest, grant: Grant): Promise<Grant> {
    try {
      const isWhole = grant.deadline - monotonicMs() > ttlMs / 2 && this.connection.connectedAt < sentAt(grant, ttlMs);
      const confirmed = isWhole ? grant : await this.extended({ key, token, ttlMs }, grant);
      await this.barrier.pass(sentAt(confirmed, ttlMs));
      return confirmed;
    } catch (cause) {
      await this.store.release([{ key, token, deadline: monotonicMs() + ttlMs }]);
      const reason = isLockstepError(cause) && cause.cause !== undefined ? cause.cause : cause;
      throw new StoreUnavailableError({
        store: 'redis',
        operation: 'lock.acquire',
        outcome: 'not-applied',
        cause: reason,
      });
    }
  }

  /** One question for all of them; those that were extended have failed where replicas have not all of it in time. */
  async confirmExtended(outcomes: readonly ExtendOutcome[], sentAtMs: number): Promise<readonly ExtendOutcome[]> {
    if (!outcomes.some(({ status }) => status === 'extended')) return outcomes;
    try {
      await this.barrier.pass(sentAtMs);
      return outcomes;
    } catch (error) {
      return outcomes.map((outcome) => (outcome.status === 'extended' ? { status: 'failed', error } : outcome));
    }
  }

  private async extended(request: ExtendRequest, grant: Grant): Promise<Grant> {
    const [outcome] = await this.store.extendUnconfirmed([request], monotonicMs());
    if (outcome?.status === 'extended') return { ...grant, deadline: outcome.deadline };
    throw outcome?.status === 'failed' ? outcome.error : new Error('the lock was lost before replicas had it');
  }
}

/** A pushed grant lasts less than a whole lease and would seem older, which errs on the safe side. */
function sentAt({ deadline }: Grant, ttlMs: number): number {
  return deadline - ttlMs;
}
