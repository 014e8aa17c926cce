import { checkpoint, type Incidents } from '@lockstep/core';
import type { LockStore, ReleaseOutcome, ReleaseRequest } from '../lock-store.js';
import { Heartbeat } from './heartbeat.js';
import type { HeldLease, LeaseKeeper } from './held-lease.js';

/** The leases of a process: kept alive, extended on demand, and given back. */
export class HeldLeases implements LeaseKeeper {
  private readonly heartbeat: Heartbeat;

  constructor(
    private readonly store: LockStore,
    private readonly incidents: Incidents,
  ) {
    this.heartbeat = new Heartbeat(store, incidents);
  }

  add(lease: HeldLease): void {
    this.heartbeat.add(lease);
  }

  async extend(lease: HeldLease): Promise<void> {
    lease.assertHeld();
    const outcome = await this.heartbeat.extendNow(lease);
    lease.assertHeld();
    if (outcome?.status === 'failed') throw outcome.error;
  }

  /** A lease that the store knows to be another's is left alone; every other is given back, lost or not. */
  async release(lease: HeldLease): Promise<void> {
    if (!lease.markReleased()) return;
    this.heartbeat.remove(lease);
    checkpoint('lock.release');
    if (lease.loss === 'stolen') return;
    const [outcome] = await this.store.release([requestOf(lease)]);
    this.note(lease, outcome);
  }

  /** At shutdown: every holder is told, every lock given back. */
  async releaseAll(): Promise<void> {
    const held = this.heartbeat.held;
    this.heartbeat.stop();
    for (const lease of held) lease.lose('shutdown');
    const outcomes = await this.store.release(held.map(requestOf));
    for (const [index, lease] of held.entries()) this.note(lease, outcomes[index]);
  }

  private note(lease: HeldLease, outcome: ReleaseOutcome | undefined): void {
    if (outcome?.status === 'not-held') lease.lose('stolen');
    if (outcome?.status !== 'failed') return;
    this.incidents.report({
      code: 'LOCK_NOT_RELEASED',
      source: 'lock.service',
      message: 'a lock could not be given back; others wait until its lease ends',
      cause: outcome.error,
    });
  }
}

function requestOf({ key, token, deadline }: HeldLease): ReleaseRequest {
  return { key, token, deadline };
}
