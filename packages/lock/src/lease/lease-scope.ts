import type { CallOutcome, CallScope } from '@lockstep/core';
import { runUnderLeases } from './current-lease.js';
import type { HeldLease } from './held-lease.js';
import { HeldSet } from './held-set.js';
import type { NestedLease } from './nested-lease.js';

/** Work under a lease that runs in pieces, each of which finds the lease by `currentLease()`. */
export class LeaseScope<Held = unknown> implements CallScope {
  private readonly leases: HeldSet['leases'];

  constructor(
    private readonly held: HeldLease | NestedLease | HeldSet,
    private readonly keeper: object,
    private readonly onClosed: () => void,
  ) {
    this.leases = held instanceof HeldSet ? held.leases : [held];
  }

  /** Which fences a store has is for the application to say: it injects the service as what its store makes of it. */
  get lease(): Held {
    return this.held as unknown as Held;
  }

  run<T>(fn: () => T): T {
    return runUnderLeases(this.leases, this.keeper, fn);
  }

  /**
   * Gives the lock back.
   * @throws LockLostError when the work completed but the lock had been lost
   */
  async close(outcome: CallOutcome): Promise<void> {
    await this.held.release();
    this.onClosed();
    if (outcome.status === 'completed' && this.held.loss) throw this.held.lostError(outcome.result);
  }
}
