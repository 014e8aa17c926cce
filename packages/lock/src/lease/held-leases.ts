import { checkpoint, count, type Incidents } from '@lockstep/core';
import type { LeaseLoss } from '../lock.errors.js';
import type { LockEvent, LockEvents } from '../lock-events.js';
import type { LockStore, ReleaseOutcome, ReleaseRequest } from '../lock-store.js';
import { Heartbeat } from './heartbeat.js';
import type { HeldLease, LeaseKeeper } from './held-lease.js';
import { LingeringLeases } from './lingering-leases.js';

/** The leases of a process in one store: kept alive, extended on demand, and given back. */
export class HeldLeases implements LeaseKeeper {
  readonly attributes: { readonly store: string };
  private readonly heartbeat: Heartbeat;
  private readonly lingering: LingeringLeases;

  constructor(
    readonly store: LockStore<bigint | undefined>,
    private readonly incidents: Incidents,
    private readonly events: LockEvents,
  ) {
    this.attributes = { store: store.name };
    this.heartbeat = new Heartbeat(store, incidents, (lease) => this.tell(lease, 'extended'));
    this.lingering = new LingeringLeases(store, incidents, (leases) => this.giveBack(leases));
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
    if (lease.loss === 'stolen' || lease.loss === 'session') return;
    if (lease.minHoldLeftMs > 0 && !lease.loss) await this.lingering.keep(lease);
    else await this.giveBack([lease]);
  }

  noteLoss(lease: HeldLease, loss: LeaseLoss): void {
    count('lockstep.lock.lost', { ...this.attributes, loss });
    this.tell(lease, 'lost', { loss });
    // The store would go on holding it for the rest of the lease, though nobody may use it any more.
    if (loss === 'max-hold') void this.giveBack([lease]);
  }

  /** At shutdown: every holder is told, every lock given back that need not be kept longer. */
  async releaseAll(): Promise<void> {
    const held = this.heartbeat.held;
    this.heartbeat.stop();
    for (const lease of held) lease.lose('shutdown');
    const [kept, done] = partition(held, (lease) => lease.minHoldLeftMs > 0);
    await Promise.all([this.giveBack(done), ...kept.map((lease) => this.lingering.keep(lease))]);
    await this.lingering.close();
  }

  private async giveBack(leases: readonly HeldLease[]): Promise<void> {
    if (leases.length === 0) return;
    const outcomes = await this.store.release(leases.map(requestOf));
    for (const [index, lease] of leases.entries()) this.note(lease, outcomes[index]);
  }

  private note(lease: HeldLease, outcome: ReleaseOutcome | undefined): void {
    if (outcome?.status === 'not-held') lease.lose('stolen');
    if (outcome?.status === 'released') this.tell(lease, 'released');
    if (outcome?.status !== 'failed') return;
    this.tell(lease, 'release-failed', { cause: outcome.error });
    this.incidents.report({
      code: 'LOCK_NOT_RELEASED',
      source: 'lock.service',
      message: 'a lock could not be given back; others wait until its lease ends',
      cause: outcome.error,
    });
  }

  private tell({ key, fence }: HeldLease, type: LockEvent['type'], more: object = {}): void {
    if (!this.events.hasListeners) return;
    this.events.emit({ type, key, fence, store: this.store.name, ...more } as LockEvent);
  }
}

function requestOf({ key, token, deadline }: HeldLease): ReleaseRequest {
  return { key, token, deadline };
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): [T[], T[]] {
  const passed: T[] = [];
  const failed: T[] = [];
  for (const item of items) (test(item) ? passed : failed).push(item);
  return [passed, failed];
}
