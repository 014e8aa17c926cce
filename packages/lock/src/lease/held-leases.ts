import { checkpoint, count, type Incidents, record } from '@lockstep/core';
import type { LeaseLoss } from '../lock.errors.js';
import type { LockEvent, LockEvents } from '../lock-events.js';
import type { LockStore, ReleaseOutcome, ReleaseRequest } from '../lock-store.js';
import { Heartbeat } from './heartbeat.js';
import type { HeldLease, LeaseKeeper } from './held-lease.js';
import { LingeringLeases } from './lingering-leases.js';
import { releaseAt } from './store-calls.js';

interface Failure {
  readonly code: string;
  readonly message: string;
}

const NOT_RELEASED: Failure = {
  code: 'LOCK_NOT_RELEASED',
  message: 'a lock could not be given back; others wait until its lease ends',
};
const MIN_HOLD_CUT: Failure = {
  code: 'LOCK_MIN_HOLD_CUT',
  message: 'a lock could not be kept for its minHold; it ends with its lease',
};
const MIN_HOLD_CUT_BY_SHUTDOWN: Failure = {
  code: 'LOCK_MIN_HOLD_CUT',
  message: 'a lock could not be kept for its minHold: it ends with the session of this process, which shuts down',
};

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
    this.lingering = new LingeringLeases(
      store,
      (leases) => this.giveBack(leases),
      () => incidents.report({ ...MIN_HOLD_CUT_BY_SHUTDOWN, source: 'lock.service' }),
    );
  }

  get hasTtl(): boolean {
    return this.store.abilities.expires;
  }

  /** A caller has it from now on. */
  add(lease: HeldLease): void {
    lease.isHandedOut = true;
    this.heartbeat.add(lease);
  }

  /** It is given up after this long from now. */
  limitHold(lease: HeldLease, maxHoldMs: number): void {
    lease.limitHold(maxHoldMs);
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
    if (!this.end(lease)) return;
    if (lease.minHoldLeftMs > 0 && !lease.loss) await this.linger(lease);
    else await this.giveBack([lease]);
  }

  async abandon(lease: HeldLease): Promise<void> {
    if (this.end(lease)) await this.giveBack([lease]);
  }

  noteLoss(lease: HeldLease, loss: LeaseLoss): void {
    if (!lease.isHandedOut) return;
    count('lockstep.lock.lost', { ...this.attributes, loss });
    this.tell(lease, 'lost', { loss });
    // The store would go on holding it for the rest of the lease, though nobody may use it any more.
    if (loss === 'max-hold') void this.giveBack([lease]);
  }

  /** The store has taken these away at an operator's word: holders of this process need not wait for a heartbeat. */
  noteTaken(tokens: ReadonlySet<string>): void {
    for (const lease of this.heartbeat.held) if (tokens.has(lease.token)) lease.lose('stolen');
  }

  /** At shutdown: every holder is told, every lock given back that need not be kept longer. */
  async releaseAll(): Promise<void> {
    const held = this.heartbeat.held.filter((lease) => lease.isHeld());
    this.heartbeat.stop();
    for (const lease of held) lease.lose('shutdown');
    // Marked as released, so that a holder that ends later does not cut short what is kept.
    const ended = held.filter((lease) => this.end(lease));
    const [kept, done] = partition(ended, (lease) => lease.minHoldLeftMs > 0);
    await Promise.all([this.giveBack(done), ...kept.map((lease) => this.linger(lease))]);
    await this.lingering.close();
  }

  /** Whether there is something to give back. */
  private end(lease: HeldLease): boolean {
    if (!lease.markReleased()) return false;
    this.heartbeat.remove(lease);
    if (lease.isHandedOut) record('lockstep.lock.hold', lease.heldMs / 1_000, this.attributes);
    checkpoint('lock.release');
    return lease.loss !== 'stolen' && lease.loss !== 'session';
  }

  private async linger(lease: HeldLease): Promise<void> {
    const outcome = await this.lingering.keep(lease);
    if (outcome) this.note(lease, outcome, MIN_HOLD_CUT);
  }

  private async giveBack(leases: readonly HeldLease[]): Promise<void> {
    if (leases.length === 0) return;
    const outcomes = await releaseAt(this.store, leases.map(requestOf));
    for (const [index, lease] of leases.entries()) this.note(lease, outcomes[index], NOT_RELEASED);
  }

  private note(lease: HeldLease, outcome: ReleaseOutcome | undefined, failure: Failure): void {
    if (outcome?.status === 'not-held') lease.loseAfterAll('stolen');
    if (outcome?.status === 'released') this.tell(lease, 'released');
    if (outcome?.status !== 'failed') return;
    this.tell(lease, 'release-failed', { cause: outcome.error });
    this.incidents.report({ ...failure, source: 'lock.service', cause: outcome.error });
  }

  private tell({ key, fence, isHandedOut }: HeldLease, type: LockEvent['type'], more: object = {}): void {
    if (!isHandedOut || !this.events.hasListeners) return;
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
