import { monotonicMs } from '@lockstep/core';
import { type LeaseLoss, LockLostError } from '../lock.errors.js';
import type { ResolvedLockOptions } from '../lock.options.js';
import type { Grant } from '../lock-store.js';
import type { AnyLease } from './lease.js';
import { outsideLeases } from './outside-leases.js';

/** What a lease needs of whoever granted it. */
export interface LeaseKeeper {
  /** Whether a lease lasts `ttl`; otherwise as long as the store's session, whatever `ttl` is. */
  readonly hasTtl: boolean;
  extend(lease: HeldLease): Promise<void>;
  release(lease: HeldLease): Promise<void>;
  abandon(lease: HeldLease): Promise<void>;
  noteLoss(lease: HeldLease, loss: LeaseLoss): void;
}

/** What the service must be able to ask after the work. */
export interface Losable {
  /** Why it was lost; undefined while it is held, and after a release in time. */
  readonly loss: LeaseLoss | undefined;
  lostError(result?: unknown): LockLostError;
}

/** Clocks may differ in rate by up to 1 %; the constant covers rounding to whole milliseconds at the store. */
function driftMs(leaseMs: number): number {
  return leaseMs * 0.01 + 2;
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
  /** How many extensions are on their way. */
  extensions = 0;
  /** Whether the store failed to answer the latest extension. */
  isStoreSilent = false;
  /** Whether a caller has it; what becomes of a grant that came too late to be handed out is nobody's loss. */
  isHandedOut = false;
  /** How long it lasts from one extension to the next. */
  leaseMs: number;
  private confirmed = 0;
  private until = 0;
  private limit: number;
  private released = false;
  private lossCause: LeaseLoss | undefined;
  private controller: AbortController | undefined;
  private givingBack: Promise<void> | undefined;
  private endListeners: Set<() => void> | undefined;
  private readonly grantedAt = monotonicMs();

  constructor(
    readonly key: string,
    readonly token: string,
    readonly options: ResolvedLockOptions,
    grant: Grant<bigint | undefined>,
    private readonly keeper: LeaseKeeper,
  ) {
    this.fence = grant.fence;
    this.leaseMs = options.ttlMs;
    this.limit = this.grantedAt + options.maxHoldMs;
    this.prolong(grant.deadline);
  }

  get ttlMs(): number {
    return this.options.ttlMs;
  }

  get deadline(): number {
    return this.until;
  }

  get heldMs(): number {
    return monotonicMs() - this.grantedAt;
  }

  /** How much longer it must be kept though the work is done. */
  get minHoldLeftMs(): number {
    return this.options.minHoldMs === 0 ? 0 : Math.ceil(this.grantedAt + this.options.minHoldMs - monotonicMs());
  }

  get signal(): AbortSignal {
    const { loss } = this;
    if (!this.controller) {
      this.controller = new AbortController();
      if (loss) this.controller.abort(this.lostError());
    }
    return this.controller.signal;
  }

  get loss(): LeaseLoss | undefined {
    if (!this.lossCause && !this.released && monotonicMs() >= this.until) this.lose(this.causeOfEnd());
    return this.lossCause;
  }

  get isReleased(): boolean {
    return this.released;
  }

  isHeld(): boolean {
    return this.loss === undefined && !this.released;
  }

  assertHeld(): void {
    if (!this.isHeld()) throw this.lostError();
  }

  extend(): Promise<void> {
    return this.keeper.extend(this);
  }

  release(): Promise<void> {
    this.givingBack ??= this.keeper.release(this);
    return this.givingBack;
  }

  /** Gives it back at once: nothing was done under it, so there is no `minHold` to keep. */
  abandon(): Promise<void> {
    this.givingBack ??= this.keeper.abandon(this);
    return this.givingBack;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** The store has confirmed the lease until `deadline`, or granted it. */
  prolong(deadline: number): void {
    // A share of what is left: of a long lease it would be more than all of the short one that was pushed.
    const marginMs = driftMs(this.leftUntil(deadline));
    // Two extensions may be answered in the other order; each end holds, so the later one does.
    this.confirmed = Math.max(this.confirmed, deadline - marginMs);
    this.isStoreSilent = false;
    this.setTimes();
  }

  /** It is given up after this long from now. */
  limitHold(maxHoldMs: number): void {
    this.limit = monotonicMs() + maxHoldMs;
    this.setTimes();
  }

  /** Says nothing of a lease that was released: it had been held for as long as it was needed. */
  lose(cause: LeaseLoss): void {
    if (!this.released) this.noteLoss(cause);
  }

  /** The store answers the release that the token was the owner no longer. */
  loseAfterAll(cause: LeaseLoss): void {
    this.noteLoss(cause);
  }

  /** Whether this is the first release. A loss that was not noticed yet is noted first. */
  markReleased(): boolean {
    if (this.released) return false;
    void this.loss;
    this.released = true;
    this.tellEnd();
    return true;
  }

  /** Calls `listener` once, when it is lost or released. */
  onEnd(listener: () => void): void {
    this.endListeners ??= new Set();
    this.endListeners.add(listener);
  }

  offEnd(listener: () => void): void {
    this.endListeners?.delete(listener);
  }

  lostError(result?: unknown): LockLostError {
    return new LockLostError(this.key, this.fence, this.lossCause ?? 'released', result);
  }

  private noteLoss(cause: LeaseLoss): void {
    if (this.lossCause) return;
    this.lossCause = cause;
    outsideLeases(() => this.controller?.abort(this.lostError()));
    this.tellEnd();
    this.keeper.noteLoss(this, cause);
  }

  private tellEnd(): void {
    const listeners = this.endListeners;
    this.endListeners = undefined;
    if (!listeners) return;
    outsideLeases(() => {
      for (const listener of listeners) listener();
    });
  }

  private setTimes(): void {
    const { confirmed, limit } = this;
    this.until = Math.min(confirmed, limit);
    // A grant that was pushed lasts less than a whole lease; the share of what is left says when to extend it.
    const leftMs = this.leftUntil(confirmed);
    if (!this.keeper.hasTtl) this.leaseMs = leftMs;
    this.extendAt = confirmed >= limit ? Number.POSITIVE_INFINITY : confirmed - (leftMs * 2) / 3;
  }

  private leftUntil(deadline: number): number {
    const leftMs = Math.max(deadline - monotonicMs(), 0);
    return this.keeper.hasTtl ? Math.min(this.options.ttlMs, leftMs) : leftMs;
  }

  private causeOfEnd(): LeaseLoss {
    if (this.until >= this.limit) return 'max-hold';
    return this.extensions > 0 || this.isStoreSilent ? 'backend' : 'expired';
  }
}
