import { monotonicMs } from '@lockstep/core';
import { type LeaseLoss, LockLostError } from '../lock.errors.js';
import type { ResolvedLockOptions } from '../lock.options.js';
import type { Grant } from '../lock-store.js';
import type { AnyLease } from './lease.js';

/** What a lease needs of whoever granted it. */
export interface LeaseKeeper {
  extend(lease: HeldLease): Promise<void>;
  release(lease: HeldLease): Promise<void>;
  noteLoss(lease: HeldLease, loss: LeaseLoss): void;
}

/** What the service must be able to ask after the work. */
export interface Losable {
  /** Why it was lost; undefined while it is held, and after a release in time. */
  readonly loss: LeaseLoss | undefined;
  lostError(result?: unknown): LockLostError;
}

/** Clocks may differ in rate by up to 1 %; the constant covers rounding to whole milliseconds at the store. */
function driftMs(ttlMs: number): number {
  return ttlMs * 0.01 + 2;
}

/**
 * ```
 * held --extended--> held, until a later deadline
 * held --deadline or maxHold passed | store says so | shutdown--> lost (for good: a late answer changes nothing)
 * held | lost --release--> released (lost after all when the store then says that the token was not the owner)
 * ```
 */
export class HeldLease implements AnyLease, Losable {
  readonly fence: bigint | undefined;
  /** When to extend next. */
  extendAt = 0;
  isExtending = false;
  /** Whether the store failed to answer the latest extension. */
  isStoreSilent = false;
  private until = 0;
  private isReleased = false;
  private lossCause: LeaseLoss | undefined;
  private controller: AbortController | undefined;
  private readonly grantedAt: number;

  constructor(
    readonly key: string,
    readonly token: string,
    readonly options: ResolvedLockOptions,
    grant: Grant<bigint | undefined>,
    private readonly keeper: LeaseKeeper,
  ) {
    this.fence = grant.fence;
    this.grantedAt = monotonicMs();
    this.prolong(grant.deadline);
  }

  get ttlMs(): number {
    return this.options.ttlMs;
  }

  get deadline(): number {
    return this.until;
  }

  /** How much longer it must be kept though the work is done. */
  get minHoldLeftMs(): number {
    return this.options.minHoldMs === 0 ? 0 : Math.ceil(this.grantedAt + this.options.minHoldMs - monotonicMs());
  }

  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.loss) this.controller.abort(this.lostError());
    }
    return this.controller.signal;
  }

  get loss(): LeaseLoss | undefined {
    if (!this.lossCause && !this.isReleased && monotonicMs() >= this.until) this.lose(this.causeOfEnd());
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
    const { ttlMs } = this.options;
    const confirmed = deadline - driftMs(ttlMs);
    this.until = Math.min(confirmed, this.limit);
    // A grant that was pushed lasts less than a whole lease; the share of what is left says when to extend it.
    const leaseMs = Math.min(ttlMs, Math.max(confirmed - monotonicMs(), 0));
    this.extendAt = confirmed >= this.limit ? Number.POSITIVE_INFINITY : confirmed - (leaseMs * 2) / 3;
    this.isStoreSilent = false;
  }

  lose(cause: LeaseLoss): void {
    if (this.lossCause) return;
    this.lossCause = cause;
    this.keeper.noteLoss(this, cause);
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

  private get limit(): number {
    return this.grantedAt + this.options.maxHoldMs;
  }

  private causeOfEnd(): LeaseLoss {
    if (this.until >= this.limit) return 'max-hold';
    return this.isExtending || this.isStoreSilent ? 'backend' : 'expired';
  }
}
