import { monotonicMs } from '@lockstep/core';
import type { AcquireRequest, Busy, Grant, LockState } from '../../lock-store.js';

interface Holder {
  readonly fence: bigint;
  readonly isShared: boolean;
  leaseEnd: number;
}

/** A request in the queue of a lock. */
export interface MemoryWaiter {
  readonly request: AcquireRequest;
  settle(outcome: Grant | Busy): void;
}

/**
 * One key.
 *
 * ```
 * free --acquire--> held --release | lease end--> handed to the head of the queue, and to all behind it that may share
 *                                                 --nobody waits--> free
 * ```
 */
export class MemoryLock {
  private readonly holders = new Map<string, Holder>();
  private readonly queue = new Set<MemoryWaiter>();
  /** Fires at the first lease end while somebody waits for it. */
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly nextFence: () => bigint,
    /** The lock holds nothing any more. */
    private readonly onIdle: () => void,
  ) {}

  /** A grant, also for a holder that asks again; undefined when the key is busy for this request. */
  tryGrant(request: AcquireRequest): Grant | undefined {
    this.endLeases();
    const own = this.holders.get(request.token);
    if (own) return this.renew(own, request.ttlMs);
    const mustQueue = this.queue.size > 0 && request.fairness === 'fifo';
    return !mustQueue && this.isFreeFor(request.capacity) ? this.grant(request) : undefined;
  }

  extend(token: string, ttlMs: number): number | 'stolen' | 'expired' {
    const holder = this.holders.get(token);
    if (!holder) return 'stolen';
    if (hasEnded(holder)) return 'expired';
    this.renew(holder, ttlMs);
    // It may have become shorter, and who waits must not wait for the old end.
    this.watchLeaseEnds();
    return holder.leaseEnd;
  }

  release(token: string): boolean {
    const holder = this.holders.get(token);
    if (!holder) return false;
    this.holders.delete(token);
    this.serve();
    return !hasEnded(holder);
  }

  join(waiter: MemoryWaiter): void {
    this.queue.add(waiter);
    this.serve();
  }

  leave(waiter: MemoryWaiter): void {
    // Those behind may share what this one wanted alone.
    if (this.queue.delete(waiter)) this.serve();
  }

  /** Until the key may be free: the longest of the leases on it. */
  remainingMs(): number {
    let end = 0;
    for (const { leaseEnd } of this.holders.values()) end = Math.max(end, leaseEnd);
    return Math.max(end - monotonicMs(), 0);
  }

  state(): LockState {
    this.endLeases();
    const now = monotonicMs();
    const holders = [...this.holders].map(([token, { leaseEnd }]) => ({ token, remainingMs: leaseEnd - now }));
    const [latest] = [...this.holders.values()].map(({ fence }) => fence).sort((a, b) => (a < b ? 1 : -1));
    return { holders, fence: latest, waiters: this.queue.size };
  }

  close(): void {
    clearTimeout(this.timer);
    const waiters = [...this.queue];
    // None of them is granted what another one leaves.
    this.queue.clear();
    for (const waiter of waiters) waiter.settle({ status: 'busy', remainingMs: 0 });
  }

  private isFreeFor(capacity: number): boolean {
    if (this.holders.size === 0) return true;
    if (capacity === 1 || this.holders.size >= capacity) return false;
    for (const { isShared } of this.holders.values()) if (!isShared) return false;
    return true;
  }

  private grant({ token, ttlMs, capacity }: AcquireRequest): Grant {
    const [together] = this.holders.values();
    const holder: Holder = { fence: together?.fence ?? this.nextFence(), isShared: capacity > 1, leaseEnd: 0 };
    this.holders.set(token, holder);
    return this.renew(holder, ttlMs);
  }

  private renew(holder: Holder, ttlMs: number): Grant {
    holder.leaseEnd = monotonicMs() + ttlMs;
    return { status: 'granted', fence: holder.fence, deadline: holder.leaseEnd };
  }

  /** Lets go of holders whose lease is over, and with the last of them of the lock. */
  endLeases(): void {
    let hasFreed = false;
    for (const [token, holder] of this.holders) {
      if (hasEnded(holder)) hasFreed = this.holders.delete(token) || hasFreed;
    }
    if (hasFreed) this.serve();
  }

  /** Grants to the head of the queue for as long as it may have the key. */
  private serve(): void {
    for (const waiter of [...this.queue]) {
      if (!this.isFreeFor(waiter.request.capacity)) break;
      this.queue.delete(waiter);
      waiter.settle(this.grant(waiter.request));
    }
    if (this.holders.size === 0 && this.queue.size === 0) this.onIdle();
    this.watchLeaseEnds();
  }

  /** A holder that neither extends nor releases loses the key to who waits. */
  private watchLeaseEnds(): void {
    clearTimeout(this.timer);
    if (this.queue.size === 0) return;
    let first = Number.POSITIVE_INFINITY;
    for (const { leaseEnd } of this.holders.values()) first = Math.min(first, leaseEnd);
    this.timer = setTimeout(
      () => {
        this.endLeases();
        this.watchLeaseEnds();
      },
      Math.ceil(first - monotonicMs()),
    );
  }
}

function hasEnded({ leaseEnd }: Holder): boolean {
  return monotonicMs() >= leaseEnd;
}
