import { monotonicMs } from '@lockstep/core';
import { type LeaseLoss, LockLostError } from '../lock.errors.js';
import type { Grant } from '../lock-store.js';
import type { Lease } from './lease.js';

/** What a lease needs of the service that granted it. */
export interface LeaseKeeper {
  extend(lease: HeldLease): Promise<void>;
  release(lease: HeldLease): Promise<void>;
}

/** Clocks may differ in rate by up to 1 %; the constant covers rounding to whole milliseconds at the store. */
function driftMs(ttlMs: number): number {
  return ttlMs * 0.01 + 2;
}

/**
 * ```
 * held --extended--> held, until a later deadline
 * held --deadline passed | store says so | shutdown--> lost (for good: an answer that comes later changes nothing)
 * held | lost --release--> released (lost after all when the store then says that the token was not the owner)
 * ```
 */
export class HeldLease implements Lease {
  readonly fence: bigint;
  /** When to extend next. */
  extendAt = 0;
  isExtending = false;
  /** Whether the store failed to answer the latest extension. */
  isStoreSilent = false;
  private until = 0;
  private isReleased = false;
  private lossCause: LeaseLoss | undefined;
  private controller: AbortController | undefined;

  constructor(
    readonly key: string,
    readonly token: string,
    readonly ttlMs: number,
    grant: Grant,
    private readonly keeper: LeaseKeeper,
  ) {
    this.fence = grant.fence;
    this.prolong(grant.deadline);
  }

  get deadline(): number {
    return this.until;
  }

  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.loss) this.controller.abort(this.lostError());
    }
    return this.controller.signal;
  }

  /** Why the lease was lost; undefined while it is held, and after a release in time. */
  get loss(): LeaseLoss | undefined {
    if (!this.lossCause && !this.isReleased && monotonicMs() >= this.until) {
      this.lose(this.isExtending || this.isStoreSilent ? 'backend' : 'expired');
    }
    return this.lossCause;
  }

  isHeld(): boolean {
    return this.loss === undefined && !this.isReleased;
  }

  assertHeld(): void {
    if (!this.isHeld()) throw this.lostError();
  }

  extend(): Promise<void> {
    return this.keeper.extend(this);
  }

  release(): Promise<void> {
    return this.keeper.release(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** The store has confirmed the lease until `deadline`, or granted it. */
  prolong(deadline: number): void {
    this.until = deadline - driftMs(this.ttlMs);
    this.extendAt = this.until - (this.ttlMs * 2) / 3;
    this.isStoreSilent = false;
  }

  lose(cause: LeaseLoss): void {
    if (this.lossCause) return;
    this.lossCause = cause;
    this.controller?.abort(this.lostError());
  }

  /** Whether this is the first release. A loss that was not noticed yet is noted first. */
  markReleased(): boolean {
    if (this.isReleased) return false;
    void this.loss;
    this.isReleased = true;
    return true;
  }

  lostError(result?: unknown): LockLostError {
    return new LockLostError(this.key, this.fence, this.lossCause ?? 'expired', result);
  }
}
