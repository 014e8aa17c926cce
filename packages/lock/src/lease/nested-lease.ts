import { type LeaseLoss, LockLostError } from '../lock.errors.js';
import type { HeldLease, Losable } from './held-lease.js';
import type { AnyLease } from './lease.js';

/**
 * The lock once more for code that runs under it already. It costs nothing, has the fence of the outer lease, and its
 * release leaves the lock with the outer one. Work that is still going on when the outer lease is given back runs
 * beside the next holder, so for such work that is a loss.
 */
export class NestedLease implements AnyLease, Losable {
  private released = false;
  private lossBefore: LeaseLoss | undefined;
  private controller: AbortController | undefined;

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
    const { loss } = this;
    if (!this.controller) {
      this.controller = new AbortController();
      if (loss) this.controller.abort(this.lostError());
      else if (!this.released) this.outer.onEnd(this.outerEnded);
    }
    return this.controller.signal;
  }

  get loss(): LeaseLoss | undefined {
    if (this.released) return this.lossBefore;
    return this.outer.loss ?? (this.outer.isReleased ? 'released' : undefined);
  }

  get isReleased(): boolean {
    return this.released;
  }

  isHeld(): boolean {
    return !this.released && this.outer.isHeld();
  }

  assertHeld(): void {
    if (!this.isHeld()) throw this.lostError();
  }

  async extend(): Promise<void> {
    this.assertHeld();
    await this.outer.extend();
  }

  async release(): Promise<void> {
    if (this.released) return;
    this.lossBefore = this.loss;
    this.released = true;
    this.outer.offEnd(this.outerEnded);
  }

  abandon(): Promise<void> {
    return this.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  lostError(result?: unknown): LockLostError {
    return new LockLostError(this.key, this.fence, this.loss ?? 'released', result);
  }

  private readonly outerEnded = (): void => this.controller?.abort(this.lostError());
}
