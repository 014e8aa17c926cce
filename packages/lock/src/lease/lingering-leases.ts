import type { Incidents } from '@lockstep/core';
import type { LockStore } from '../lock-store.js';
import type { HeldLease } from './held-lease.js';

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
    private readonly incidents: Incidents,
    private readonly giveBack: (leases: readonly HeldLease[]) => Promise<void>,
  ) {}

  async keep(lease: HeldLease): Promise<void> {
    const restMs = lease.minHoldLeftMs;
    if (!this.store.abilities.expires) {
      this.timers.set(lease, setTimeout(() => void this.end(lease), restMs).unref());
      return;
    }
    const { key, token } = lease;
    const [outcome] = await this.store.extend([{ key, token, ttlMs: restMs }]);
    if (outcome?.status === 'extended') return;
    this.incidents.report({
      code: 'LOCK_MIN_HOLD_CUT',
      source: 'lock.service',
      message: 'a lock could not be kept for its minHold; it ends with its lease',
      cause: outcome?.status === 'failed' ? outcome.error : undefined,
    });
  }

  /** Gives back what only this process keeps. */
  async close(): Promise<void> {
    const leases = [...this.timers.keys()];
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
    await this.giveBack(leases);
  }

  private async end(lease: HeldLease): Promise<void> {
    this.timers.delete(lease);
    await this.giveBack([lease]);
  }
}
