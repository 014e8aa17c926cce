import { HeldLease, type LeaseKeeper } from '../lease/held-lease.js';
import type { ResolvedLockOptions } from '../lock.options.js';
import type { AcquireRequest, Busy, Fairness, Grant, StoreLoss } from '../lock-store.js';
import { ownerToken } from './owner-token.js';

/** A request on its way, and what becomes of it. Its facts are its own properties: a store may spread it. */
export class PendingLease implements AcquireRequest {
  readonly token = ownerToken();
  readonly ttlMs: number;
  readonly capacity: number;
  readonly fairness: Fairness;
  private lease: HeldLease | undefined;
  private lostBefore: StoreLoss | undefined;

  constructor(
    readonly key: string,
    private readonly options: ResolvedLockOptions,
    private readonly keeper: LeaseKeeper,
    readonly waitMs: number,
    readonly signal: AbortSignal | undefined,
  ) {
    this.ttlMs = options.ttlMs;
    this.capacity = options.capacity;
    this.fairness = options.fairness;
  }

  /** A session may end between the grant and the moment this process hears of it. */
  readonly onLost = (cause: StoreLoss): void => {
    this.lostBefore = cause;
    this.lease?.lose(cause);
  };

  settle(outcome: Grant<bigint | undefined> | Busy): HeldLease | Busy {
    if (outcome.status === 'busy') return outcome;
    this.lease = new HeldLease(this.key, this.token, this.options, outcome, this.keeper);
    if (this.lostBefore) this.lease.lose(this.lostBefore);
    return this.lease;
  }
}
