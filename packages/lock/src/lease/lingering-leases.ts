import type { LockStore, ReleaseOutcome } from '../lock-store.js';
import type { HeldLease } from './held-lease.js';
import { outsideLeases } from './outside-leases.js';
import { extendAt } from './store-calls.js';

/**
 * Locks whose work is done before their `minHold` is over. A store with leases is told to let them end by themselves,
 * which holds even if this process ends; with sessions they are kept here until then, or until the process ends.
 *
 * ```
 * work done --store has leases--> lease set to the rest of minHold, and left to end
 *           --store has sessions--> timer --rest over | shutdown--> given back
 * ```
 */
export class LingeringLeases {
  private readonly timers = new Map<HeldLease, NodeJS.Timeout>();

  constructor(
    private readonly store: LockStore<bigint | undefined>,
    private readonly giveBack: (leases: readonly HeldLease[]) => Promise<void>,
    private readonly onCut: (lease: HeldLease) => void,
  ) {}

  /** What has become of it; undefined where it is still kept here, or turns out to be lost. */
  async keep(lease: HeldLease): Promise<ReleaseOutcome | undefined> {
    const restMs = lease.minHoldLeftMs;
    if (!this.store.abilities.expires) {
      const timer = outsideLeases(() => setTimeout(() => void this.end(lease), restMs));
      this.timers.set(lease, timer.unref());
      return undefined;
    }
    const { key, token } = lease;
    const [outcome] = await extendAt(this.store, [{ key, token, ttlMs: restMs }]);
    if (outcome?.status === 'extended') return { status: 'released' };
    if (outcome?.status === 'lost') lease.loseAfterAll(outcome.cause);
    return outcome?.status === 'failed' ? outcome : undefined;
  }

  /** Gives back what only this process keeps, and tells of each that it was not kept for its `minHold`. */
  async close(): Promise<void> {
    const leases = [...this.timers.keys()];
    for (const lease of leases) this.onCut(lease);
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
    await this.giveBack(leases);
  }

  private async end(lease: HeldLease): Promise<void> {
    this.timers.delete(lease);
    await this.giveBack([lease]);
  }
}
