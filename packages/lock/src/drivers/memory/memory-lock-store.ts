import { type DriverProvider, monotonicMs } from '@lockstep/core';
import { Logger } from '@nestjs/common';
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
import { MemoryLock, type MemoryWaiter } from './memory-lock.js';

/** The embedded default: locks among the callers of this process, and no others. */
export function memoryLockStore(): DriverProvider<LockStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').warn('Locks are kept in memory: they hold within this process only');
      return new MemoryLockStore();
    },
  };
}

/** Locks of one process, handed from holder to waiter in the order of their coming. */
export class MemoryLockStore implements LockStore {
  readonly name = 'memory';
  readonly abilities = { expires: true, shares: 'any', queues: true } as const;
  private readonly locks = new Map<string, MemoryLock>();
  private lastFence = 0n;
  private hand = this.locks.values();

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    const { key, waitMs, signal } = request;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const lock = this.lockOf(key);
    const grant = this.tryGrant(lock, request);
    if (grant) return Promise.resolve(grant);
    if (waitMs > 0) return wait(lock, request);
    return Promise.resolve({ status: 'busy', remainingMs: lock.remainingMs() });
  }

  async acquirePrefix(requests: readonly AcquireRequest[]): Promise<readonly (Grant | Busy)[]> {
    const outcomes: (Grant | Busy)[] = [];
    for (const request of requests) {
      const lock = this.lockOf(request.key);
      const grant = this.tryGrant(lock, request);
      outcomes.push(grant ?? { status: 'busy', remainingMs: lock.remainingMs() });
      if (!grant) break;
    }
    return outcomes;
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    return requests.map(({ key, token, ttlMs }) => {
      const deadline = this.locks.get(key)?.extend(token, ttlMs) ?? 'stolen';
      return typeof deadline === 'number' ? { status: 'extended', deadline } : { status: 'lost', cause: deadline };
    });
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return requests.map(({ key, token }) => ({
      status: this.locks.get(key)?.release(token) ? 'released' : 'not-held',
    }));
  }

  async inspect(key: string): Promise<LockState> {
    return this.locks.get(key)?.state() ?? { holders: [], fence: undefined, waiters: 0 };
  }

  async close(): Promise<void> {
    for (const lock of this.locks.values()) lock.close();
    this.locks.clear();
  }

  private lockOf(key: string): MemoryLock {
    let lock = this.locks.get(key);
    if (!lock) {
      const made = new MemoryLock(
        () => this.nextFence(),
        () => {
          if (this.locks.get(key) === made) this.locks.delete(key);
        },
      );
      lock = made;
      this.locks.set(key, lock);
      this.sweep();
    }
    return lock;
  }

  /**
   * Leases that nobody gives back, such as those kept for `minHold`, end unseen when nobody asks for their keys. Two
   * locks are looked at for each that is made, so there are never many more of them than are held.
   */
  private sweep(): void {
    for (let looked = 0; looked < 2; looked += 1) {
      const { value } = this.hand.next();
      if (value) value.endLeases();
      else this.hand = this.locks.values();
    }
  }

  private tryGrant(lock: MemoryLock, request: AcquireRequest): Grant | undefined {
    const grant = lock.tryGrant(request);
    // It may have been idle for a moment, and so been dropped, when the lease of the last holder was found to be over.
    if (grant) this.locks.set(request.key, lock);
    return grant;
  }

  /** Microseconds of the clock, or one more than the last: rises across restarts like that of the other stores. */
  private nextFence(): bigint {
    const now = BigInt(Date.now()) * 1_000n;
    this.lastFence = now > this.lastFence ? now : this.lastFence + 1n;
    return this.lastFence;
  }
}

function wait(lock: MemoryLock, request: AcquireRequest): Promise<Grant | Busy> {
  const { waitMs, signal } = request;
  const giveUpAt = monotonicMs() + waitMs;
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout;
    const leave = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      lock.leave(waiter);
    };
    const waiter: MemoryWaiter = {
      request,
      settle: (outcome) => {
        leave();
        resolve(outcome);
      },
    };
    const abort = (): void => {
      leave();
      reject(signal?.reason);
    };
    const expire = (): void => {
      const leftMs = giveUpAt - monotonicMs();
      // A timer counts from the beginning of its turn of the event loop, and so fires a moment early.
      if (leftMs > 0) timer = setTimeout(expire, Math.ceil(leftMs));
      else waiter.settle({ status: 'busy', remainingMs: lock.remainingMs() });
    };
    expire();
    signal?.addEventListener('abort', abort, { once: true });
    lock.join(waiter);
  });
}
