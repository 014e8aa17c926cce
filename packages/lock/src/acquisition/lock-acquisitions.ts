import {
  ConfigurationError,
  checkpoint,
  count,
  isLockstepError,
  monotonicMs,
  record,
  StoreUnavailableError,
} from '@lockstep/core';
import { heldByCaller } from '../lease/current-lease.js';
import { HeldLease } from '../lease/held-lease.js';
import type { HeldLeases } from '../lease/held-leases.js';
import { NestedLease } from '../lease/nested-lease.js';
import { releaseAt } from '../lease/store-calls.js';
import { LockModeError, LockReentryError, LockShuttingDownError } from '../lock.errors.js';
import { modeName, type ResolvedLockOptions } from '../lock.options.js';
import type { LockEvents } from '../lock-events.js';
import { assertLockKey } from '../lock-key.js';
import type { AcquireRequest, Busy, LockState, LockStore } from '../lock-store.js';
import { PendingLease } from './pending-lease.js';

type Attributes = Readonly<Record<string, string>>;
type Store = LockStore<bigint | undefined>;

/** What one step granted, and the first that it did not. */
interface Prefix {
  readonly leases: readonly HeldLease[];
  readonly busy: Busy | undefined;
}

/** Takes locks from one store for this process. */
export class LockAcquisitions {
  private isClosing = false;
  /** A shutdown waits for these: a grant that nobody gives back would lock others out for a whole lease. */
  private underWay = 0;
  private onIdle: (() => void) | undefined;
  private readonly acquiredAttributes: Attributes;
  private readonly busyAttributes: Attributes;

  constructor(
    private readonly leases: HeldLeases,
    private readonly events: LockEvents,
  ) {
    this.acquiredAttributes = { ...leases.attributes, outcome: 'acquired' };
    this.busyAttributes = { ...leases.attributes, outcome: 'busy' };
  }

  /** One lock: held, held once more by code that holds it already, or busy. */
  async take(
    key: string,
    options: ResolvedLockOptions,
    signal: AbortSignal | undefined,
  ): Promise<HeldLease | NestedLease | Busy> {
    const nested = this.nested(key, options);
    signal?.throwIfAborted();
    return nested ?? this.ask(key, options, signal);
  }

  /**
   * Locks that are free, in their order up to the first that is not, in one step.
   *
   * @returns undefined when the store cannot do so with these keys
   */
  async takePrefix(keys: readonly string[], options: ResolvedLockOptions): Promise<Prefix | undefined> {
    this.underWay += 1;
    try {
      return await this.askPrefix(keys, options);
    } finally {
      this.settled();
    }
  }

  /** The lease that the calling code runs under, once more. @throws LockReentryError when it cannot have it so */
  nested(key: string, options: ResolvedLockOptions): NestedLease | undefined {
    this.assertPossible(key, options);
    const outer = heldByCaller(key, this);
    return outer && reenter(outer, options);
  }

  /** The `maxHold` of what was taken as part of a set counts from when the set is whole. */
  limitHold(lease: HeldLease | NestedLease, { maxHoldMs }: ResolvedLockOptions): void {
    if (lease instanceof HeldLease && Number.isFinite(maxHoldMs)) this.leases.limitHold(lease, maxHoldMs);
  }

  /** @throws ConfigurationError when the store cannot grant locks of this mode */
  assertGrantable({ capacity }: ResolvedLockOptions): void {
    if (this.canGrant(capacity)) return;
    throw ConfigurationError.option('mode', modeName(capacity), `what the ${this.leases.store.name} store can grant`);
  }

  noteBusy(key: string, waitedMs: number): void {
    count('lockstep.lock.busy', this.leases.attributes);
    record('lockstep.lock.wait', waitedMs / 1_000, this.busyAttributes);
    if (this.events.hasListeners) this.events.emit({ type: 'busy', key, store: this.leases.store.name, waitedMs });
  }

  /** What was granted was over before it could be handed out. */
  lateGrant(): StoreUnavailableError {
    return this.unavailable(new Error('the grant arrived after its lease had ended'));
  }

  inspect(key: string): Promise<LockState> {
    assertLockKey(key);
    return this.leases.store.inspect(key);
  }

  async forceRelease(key: string): Promise<number> {
    const { holders } = await this.inspect(key);
    if (holders.length === 0) return 0;
    const deadline = monotonicMs();
    const requests = holders.map(({ token }) => ({ key, token, deadline }));
    const outcomes = await releaseAt(this.leases.store, requests);
    const taken = requests.filter((_, index) => outcomes[index]?.status === 'released');
    this.leases.noteTaken(new Set(taken.map(({ token }) => token)));
    const failed = outcomes.find((outcome) => outcome.status === 'failed');
    if (failed?.status === 'failed') throw failed.error;
    return taken.length;
  }

  /** Gives all back, ends the waiting, and sees to it that what is granted meanwhile is given back too. */
  async close(): Promise<void> {
    this.isClosing = true;
    await this.leases.releaseAll();
    await this.leases.store.close();
    if (this.underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
    });
  }

  private async ask(
    key: string,
    options: ResolvedLockOptions,
    signal: AbortSignal | undefined,
  ): Promise<HeldLease | Busy> {
    const startedAt = monotonicMs();
    const giveUpAt = startedAt + options.waitMs;
    this.underWay += 1;
    try {
      for (;;) {
        this.assertOpen(key);
        const pending = new PendingLease(key, options, this.leases, Math.max(giveUpAt - monotonicMs(), 0), signal);
        const outcome = pending.settle(await this.leases.store.acquire(pending));
        if (!(outcome instanceof HeldLease)) {
          signal?.throwIfAborted();
          if (this.isClosing) continue;
          this.noteBusy(key, monotonicMs() - startedAt);
          return outcome;
        }
        if (!signal?.aborted && this.keep(outcome, startedAt)) return outcome;
        await outcome.abandon();
        signal?.throwIfAborted();
        if (!this.isClosing && monotonicMs() >= giveUpAt) throw this.lateGrant();
      }
    } catch (cause) {
      throw cause === signal?.reason ? cause : this.notTaken(cause);
    } finally {
      this.settled();
    }
  }

  private async askPrefix(keys: readonly string[], options: ResolvedLockOptions): Promise<Prefix | undefined> {
    for (const key of keys) this.assertOpen(key);
    const startedAt = monotonicMs();
    const pending = keys.map((key) => new PendingLease(key, options, this.leases, 0, undefined));
    const outcomes = await this.prefixOf(pending);
    if (outcomes === undefined) return undefined;
    const taken = outcomes.map((outcome, index) => pending[index]?.settle(outcome));
    const granted = taken.filter((outcome) => outcome instanceof HeldLease);
    if (this.isClosing || !granted.every((lease) => lease.isHeld())) {
      await Promise.all(granted.map((lease) => lease.abandon()));
      for (const key of keys) this.assertOpen(key);
      throw this.lateGrant();
    }
    for (const lease of granted) this.keep(lease, startedAt);
    const busy = taken.find((outcome): outcome is Busy => outcome !== undefined && 'status' in outcome);
    return { leases: granted, busy };
  }

  private async prefixOf(requests: readonly AcquireRequest[]): ReturnType<NonNullable<Store['acquirePrefix']>> {
    try {
      return await this.leases.store.acquirePrefix?.(requests);
    } catch (cause) {
      throw this.notTaken(cause);
    }
  }

  private settled(): void {
    this.underWay -= 1;
    if (this.underWay === 0) this.onIdle?.();
  }

  /** False when the grant took longer to arrive than its lease lasts, or nobody may keep it any longer. */
  private keep(lease: HeldLease, startedAt: number): boolean {
    if (this.isClosing || !lease.isHeld()) return false;
    this.leases.add(lease);
    const waitedMs = monotonicMs() - startedAt;
    count('lockstep.lock.acquired', this.leases.attributes);
    record('lockstep.lock.wait', waitedMs / 1_000, this.acquiredAttributes);
    if (this.events.hasListeners) {
      const { key, fence } = lease;
      this.events.emit({ type: 'acquired', key, fence, store: this.leases.store.name, waitedMs });
    }
    checkpoint('lock.acquired');
    return true;
  }

  private assertOpen(key: string): void {
    if (this.isClosing) throw new LockShuttingDownError(key);
  }

  private assertPossible(key: string, { capacity }: ResolvedLockOptions): void {
    assertLockKey(key);
    if (!this.canGrant(capacity)) throw new LockModeError(key, this.leases.store.name, modeName(capacity));
  }

  private canGrant(capacity: number): boolean {
    if (capacity === 1) return true;
    const { shares } = this.leases.store.abilities;
    return shares === 'any' || (shares === 'readers' && capacity === Number.POSITIVE_INFINITY);
  }

  /**
   * What the store executed of a request whose answer was lost is between it and its backend; for whoever wanted the
   * lock nothing has happened, and an idempotency outside must not take the guarded work for half done.
   */
  private notTaken(cause: unknown): unknown {
    const isUnknown = isLockstepError(cause) && (cause.kind === 'unknown' || cause.fields.outcome === 'unknown');
    return isUnknown ? this.unavailable(cause) : cause;
  }

  private unavailable(cause: unknown): StoreUnavailableError {
    const named = isLockstepError(cause) && cause.fields.store;
    const store = String(named || this.leases.store.name);
    return new StoreUnavailableError({ store, operation: 'lock.acquire', outcome: 'not-applied', cause });
  }
}

/** What is held alone serves any wish; what is shared serves the same wish only, or the caller would wait for itself. */
function reenter(outer: HeldLease, options: ResolvedLockOptions): NestedLease {
  if (!options.isReentrant) throw new LockReentryError(outer.key, 'and it was asked for with `reentrant: false`');
  const held = outer.options.capacity;
  if (held === 1 || held === options.capacity) return new NestedLease(outer);
  throw new LockReentryError(outer.key, `as ${modeName(held)}, which does not become ${modeName(options.capacity)}`);
}
