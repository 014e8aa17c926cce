import { type DriverProvider, monotonicMs } from '@lockstep/core';
import { Logger } from '@nestjs/common';
import type {
  AcquireRequest,
  Busy,
  ExtendOutcome,
  ExtendRequest,
  Grant,
  LockStore,
  ReleaseOutcome,
  ReleaseRequest,
} from '../../lock-store.js';

/** The embedded default: locks among the callers of this process, and no others. */
export function memoryLockStore(): DriverProvider<LockStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').warn('Locks are kept in memory: they hold within this process only');
      return new MemoryLockStore();
    },
  };
}

interface Owner {
  readonly token: string;
  readonly fence: bigint;
  leaseEnd: number;
}

interface Waiter {
  readonly request: AcquireRequest;
  settle(outcome: Grant | Busy): void;
}

interface Lock {
  owner: Owner | undefined;
  readonly waiters: Set<Waiter>;
  /** Fires at the owner's lease end while somebody waits for it. */
  timer: NodeJS.Timeout | undefined;
}

/** Locks of one process, handed from holder to waiter in the order of their coming. */
export class MemoryLockStore implements LockStore {
  readonly name = 'memory';
  private readonly locks = new Map<string, Lock>();
  private lastFence = 0n;

  acquire(request: AcquireRequest): Promise<Grant | Busy> {
    const { key, waitMs, signal } = request;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const lock = this.lockOf(key);
    if (lock.owner && this.hasEnded(lock.owner)) this.handOver(key, lock);
    const { owner } = lock;
    if (!owner || owner.token === request.token) return Promise.resolve(this.grant(lock, request));
    const busy: Busy = { status: 'busy', remainingMs: owner.leaseEnd - monotonicMs() };
    return waitMs === 0 ? Promise.resolve(busy) : this.wait(lock, request);
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    return requests.map(({ key, token, ttlMs }) => {
      const owner = this.locks.get(key)?.owner;
      if (owner?.token !== token) return { status: 'lost', cause: 'stolen' };
      if (this.hasEnded(owner)) return { status: 'lost', cause: 'expired' };
      owner.leaseEnd = monotonicMs() + ttlMs;
      return { status: 'extended', deadline: owner.leaseEnd };
    });
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return requests.map(({ key, token }) => {
      const lock = this.locks.get(key);
      if (lock?.owner?.token !== token) return { status: 'not-held' };
      this.handOver(key, lock);
      return { status: 'released' };
    });
  }

  async close(): Promise<void> {
    for (const { waiters, timer } of this.locks.values()) {
      clearTimeout(timer);
      for (const waiter of waiters) waiter.settle({ status: 'busy', remainingMs: 0 });
    }
    this.locks.clear();
  }

  private lockOf(key: string): Lock {
    let lock = this.locks.get(key);
    if (!lock) {
      lock = { owner: undefined, waiters: new Set(), timer: undefined };
      this.locks.set(key, lock);
    }
    return lock;
  }

  private hasEnded(owner: Owner): boolean {
    return monotonicMs() >= owner.leaseEnd;
  }

  private grant(lock: Lock, { key, token, ttlMs }: AcquireRequest): Grant {
    const leaseEnd = monotonicMs() + ttlMs;
    const fence = lock.owner?.token === token ? lock.owner.fence : this.nextFence();
    lock.owner = { token, fence, leaseEnd };
    this.locks.set(key, lock);
    return { status: 'granted', fence, deadline: leaseEnd };
  }

  /** Microseconds of the clock, or one more than the last: rises across restarts like that of the other stores. */
  private nextFence(): bigint {
    const now = BigInt(Date.now()) * 1_000n;
    this.lastFence = now > this.lastFence ? now : this.lastFence + 1n;
    return this.lastFence;
  }

  private wait(lock: Lock, request: AcquireRequest): Promise<Grant | Busy> {
    const { key, waitMs, signal } = request;
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        lock.waiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const settle = (outcome: Grant | Busy): void => {
        leave();
        resolve(outcome);
      };
      const abort = (): void => {
        leave();
        reject(signal?.reason);
      };
      const remainingMs = (): number => Math.max((lock.owner?.leaseEnd ?? 0) - monotonicMs(), 0);
      const timer = setTimeout(() => settle({ status: 'busy', remainingMs: remainingMs() }), waitMs);
      const waiter: Waiter = { request, settle };
      signal?.addEventListener('abort', abort, { once: true });
      lock.waiters.add(waiter);
      this.watchLeaseEnd(key, lock);
    });
  }

  /** Grants the lock to who waits longest, or forgets it. */
  private handOver(key: string, lock: Lock): void {
    lock.owner = undefined;
    const [next] = lock.waiters;
    if (!next) {
      clearTimeout(lock.timer);
      this.locks.delete(key);
      return;
    }
    next.settle(this.grant(lock, next.request));
    this.watchLeaseEnd(key, lock);
  }

  /** A holder that neither extends nor releases loses the lock to who waits. */
  private watchLeaseEnd(key: string, lock: Lock): void {
    clearTimeout(lock.timer);
    const { owner } = lock;
    if (!owner || lock.waiters.size === 0) return;
    const leftMs = Math.ceil(owner.leaseEnd - monotonicMs());
    lock.timer = setTimeout(() => {
      if (lock.owner === owner && this.hasEnded(owner)) this.handOver(key, lock);
      else this.watchLeaseEnd(key, lock);
    }, leftMs);
  }
}
