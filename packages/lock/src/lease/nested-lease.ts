import type { LeaseLoss, LockLostError } from '../lock.errors.js';
import type { HeldLease, Losable } from './held-lease.js';
import type { AnyLease } from './lease.js';

/**
 * The lock once more for code that runs under it already. It costs nothing, has the fence of the outer lease, and its
 * release leaves the lock with the outer one.
 */
export class NestedLease implements AnyLease, Losable {
  private isReleased = false;

  constructor(readonly outer: HeldLease) {}

  get key(): string {
    return this.outer.key;
  }

  get token(): string {
    return this.outer.token;
  }

  get fence(): bigint | undefined {
    return this.outer.fence;
  }

  get deadline(): number {
    return this.outer.deadline;
  }

  get signal(): AbortSignal {
    return this.outer.signal;
  }

  get loss(): LeaseLoss | undefined {
    return this.outer.loss;
  }

  isHeld(): boolean {
    return !this.isReleased && this.outer.isHeld();
  }

  assertHeld(): void {
    if (!this.isHeld()) throw this.lostError();
  }

  async extend(): Promise<void> {
    this.assertHeld();
    await this.outer.extend();
  }

  async release(): Promise<void> {
    this.isReleased = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  lostError(result?: unknown): LockLostError {
    return this.outer.lostError(result);
  }
}
