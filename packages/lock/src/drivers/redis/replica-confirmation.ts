import { isLockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { RedisConnection, ReplicaBarrier, ReplicaBarrierOptions } from '@lockstep/redis';
import type { AcquireRequest, Grant, LockStore } from '../../lock-store.js';

/**
 * Lets a grant count only when enough replicas have it.
 *
 * ```
 * granted --extended by this process--> written last by us --replicas have it--> granted
 *                                                          --not in time--> given back, unavailable
 * ```
 * It is extended first, because a grant that was pushed was written by whoever released the lock.
 */
export class ReplicaConfirmation {
  private readonly barrier: ReplicaBarrier;

  constructor(
    private readonly store: LockStore,
    connection: RedisConnection,
    options: ReplicaBarrierOptions,
  ) {
    this.barrier = connection.replicaBarrier(options);
  }

  /** @throws StoreUnavailableError `not-applied`, having given the lock back */
  async confirm({ key, token, ttlMs }: AcquireRequest, grant: Grant): Promise<Grant> {
    try {
      const isWhole = grant.deadline - monotonicMs() > ttlMs / 2;
      const confirmed = isWhole ? grant : await this.extended({ key, token, ttlMs }, grant);
      await this.barrier.pass();
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

  private async extended(request: Pick<AcquireRequest, 'key' | 'token' | 'ttlMs'>, grant: Grant): Promise<Grant> {
    const [outcome] = await this.store.extend([request]);
    if (outcome?.status === 'extended') return { ...grant, deadline: outcome.deadline };
    throw outcome?.status === 'failed' ? outcome.error : new Error('the lock was lost before replicas had it');
  }
}
