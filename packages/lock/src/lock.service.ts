import { ConfigurationError, DrainService, Incidents, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { LockAcquisitions } from './acquisition/lock-acquisitions.js';
import { takeInOrder } from './acquisition/ordered-acquisition.js';
import type { HeldLease } from './lease/held-lease.js';
import { HeldLeases } from './lease/held-leases.js';
import { HeldSet } from './lease/held-set.js';
import type { Lease, LeaseSet } from './lease/lease.js';
import { LeaseScope } from './lease/lease-scope.js';
import type { NestedLease } from './lease/nested-lease.js';
import { RunningScopes } from './lease/running-scopes.js';
import { LockBusyError } from './lock.errors.js';
import { NAMED_LOCK_STORES, type NamedLockStores } from './lock.module-definition.js';
import { LOCK_DEFAULTS, type LockOptions, type ResolvedLockOptions, resolveLockOptions } from './lock.options.js';
import { LockEvents, type LockListener } from './lock-events.js';
import { LOCK_STORE, type LockState, type LockStore } from './lock-store.js';
import { openLockedCall, runLocked } from './locked-call.js';

/** Which locks a call needs: one, or several that are taken together. */
export type LockKeys = string | readonly string[];

/** What is held: a lease, or a set of them where several keys were asked for. */
export type HeldBy<Keys extends LockKeys, Fence extends bigint | undefined> = Keys extends string
  ? Lease<Fence>
  : LeaseSet<Fence>;

/**
 * Locks with one holder at a time, or as many as their mode allows.
 *
 * ```
 * acquiring --granted--> held --work done--> released (with minHold: kept until it is over)
 *           --held by the calling code--> held, once more, for nothing
 *           --wait over--> busy            --deadline, maxHold, stolen, store silent--> lost --work done--> LockLostError
 *           --store silent--> unavailable  --shutdown--> lost
 * ```
 * Exclusion rests on time: a holder that stands still beyond its lease may run beside its successor for a moment,
 * without knowing. The lease tells as soon as it can; only the fence, checked where the data is, makes it harmless.
 *
 * Inject it as `LockService<undefined>` where the store promises no fences.
 */
@Injectable()
export class LockService<Fence extends bigint | undefined = bigint> {
  private readonly events: LockEvents;
  private readonly standard: LockAcquisitions;
  private readonly named = new Map<string, LockAcquisitions>();
  private readonly running = new RunningScopes();

  constructor(
    @Inject(LOCK_STORE) store: LockStore<bigint | undefined>,
    @Inject(NAMED_LOCK_STORES) stores: NamedLockStores,
    @Inject(LOCK_DEFAULTS) private readonly defaults: ResolvedLockOptions,
    @Inject(Incidents) incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.events = new LockEvents(incidents);
    const over = (kept: LockStore<bigint | undefined>): LockAcquisitions =>
      new LockAcquisitions(new HeldLeases(kept, incidents, this.events), this.events);
    this.standard = over(store);
    for (const [name, kept] of stores) this.named.set(name, over(kept));
    drain.register({ name: 'guarded calls', phase: 'work', drain: (signal) => this.running.finish(signal) });
    drain.register({ name: 'locks', phase: 'leases', drain: () => this.close() });
  }

  /**
   * Takes the lock, waiting for others at most `wait`. Release it, or let `await using` do so. Code that was called
   * under this lock, by {@link using} or `@DistributedLock`, gets it once more at once.
   *
   * @throws LockBusyError when somebody else still holds it
   * @throws StoreUnavailableError `not-applied` when the store does not answer: what it may still grant is taken back
   * @throws LockReentryError when the calling code holds it already and cannot have it once more
   * @throws LockKeyError, LockModeError before anything is sent
   * @throws the signal's reason once it aborts
   */
  async acquire(key: string, options: LockOptions = {}): Promise<Lease<Fence>> {
    return fenced(await this.take(key, options));
  }

  /** Like {@link acquire}, but does not wait unless told to, and answers undefined when the lock is held. */
  async tryAcquire(key: string, options: LockOptions = {}): Promise<Lease<Fence> | undefined> {
    const { locks, resolved } = this.resolve({ ...options, wait: options.wait ?? 0 });
    const outcome = await locks.take(key, resolved, options.signal);
    return 'status' in outcome ? undefined : fenced(outcome);
  }

  /**
   * Takes all of the locks or none, in one order for all callers, so that two callers with the same keys never wait for
   * each other. Whoever holds one of them already and asks for the others breaks that order, and may wait in vain. On
   * one Redis server, or in one slot of a Cluster, all that are free are taken in one step. `minHold` and `maxHold`
   * count for each lock, `maxHold` from when all are held.
   *
   * @throws as {@link acquire}
   */
  async acquireAll(keys: readonly string[], options: LockOptions = {}): Promise<LeaseSet<Fence>> {
    return fenced(await this.takeAll(keys, options));
  }

  /**
   * Runs `fn` under the lock, or under all of several locks, and releases. An error of `fn` passes through as it is.
   * Code that `fn` calls, and the branches of a `Promise.all` in it, share the hold, which ends with `fn`: what goes on
   * after that has lost the lock, and takes it anew where it asks again.
   *
   * @throws LockLostError when `fn` succeeded but the lock had been lost; `result` is what it returned
   * @throws as {@link acquire}
   */
  async using<T, const Keys extends LockKeys>(
    keys: Keys,
    options: LockOptions,
    fn: (lease: HeldBy<Keys, Fence>) => Promise<T>,
  ): Promise<T> {
    return runLocked(await openLockedCall(keys, () => this.enter(keys, options)), fn);
  }

  /**
   * Takes the lock for work that comes in pieces: each `run(…)` of the scope finds the lease by `currentLease()`, and
   * `close(…)` gives the lock back, telling of a loss as {@link using} does. What is never closed stays locked.
   *
   * @throws as {@link acquire}
   */
  async enter<const Keys extends LockKeys>(
    keys: Keys,
    options: LockOptions = {},
  ): Promise<LeaseScope<HeldBy<Keys, Fence>>> {
    const held = typeof keys === 'string' ? await this.take(keys, options) : await this.takeAll(keys, options);
    return new LeaseScope(held, this.locksOf(options.store ?? this.defaults.store), this.running.enter());
  }

  /**
   * Who holds a lock, and how many wait, as the store says.
   * @throws StoreUnavailableError when the store does not answer
   */
  async inspect(key: string, options: Pick<LockOptions, 'store'> = {}): Promise<LockState> {
    return this.locksOf(options.store ?? this.defaults.store).inspect(key);
  }

  /**
   * Takes the lock away from whoever holds it at this moment. A holder in this process learns so at once, one in
   * another process at its next heartbeat, and until then goes on: only the fence stops what it writes.
   *
   * @returns from how many holders it was taken
   * @throws StoreUnavailableError when the store does not answer
   */
  async forceRelease(key: string, options: Pick<LockOptions, 'store'> = {}): Promise<number> {
    return this.locksOf(options.store ?? this.defaults.store).forceRelease(key);
  }

  /** Calls `listener` for what happens to locks of this process from now on. Returns the function that ends it. */
  subscribe(listener: LockListener): () => void {
    return this.events.subscribe(listener);
  }

  /** @throws ConfigurationError when the module has no such store, or the store cannot grant the mode */
  assertPossible(options: LockOptions): void {
    const { locks, resolved } = this.resolve(options);
    locks.assertGrantable(resolved);
  }

  private async take(key: string, options: LockOptions): Promise<HeldLease | NestedLease> {
    const { locks, resolved } = this.resolve(options);
    const startedAt = monotonicMs();
    const outcome = await locks.take(key, resolved, options.signal);
    if (!('status' in outcome)) return outcome;
    throw new LockBusyError(key, monotonicMs() - startedAt, outcome.remainingMs);
  }

  private async takeAll(keys: readonly string[], options: LockOptions): Promise<HeldSet> {
    const { locks, resolved } = this.resolve(options);
    const startedAt = monotonicMs();
    const outcome = await takeInOrder(locks, keys, resolved, options.signal);
    if (outcome instanceof HeldSet) return outcome;
    throw new LockBusyError(outcome.key, monotonicMs() - startedAt, outcome.remainingMs);
  }

  private resolve(options: LockOptions): { locks: LockAcquisitions; resolved: ResolvedLockOptions } {
    const resolved = resolveLockOptions(options, this.defaults);
    return { locks: this.locksOf(resolved.store), resolved };
  }

  private locksOf(store: string | undefined): LockAcquisitions {
    if (store === undefined) return this.standard;
    const locks = this.named.get(store);
    if (locks) return locks;
    const known = [...this.named.keys()].join(', ') || 'none';
    throw ConfigurationError.option('store', store, `one of the \`stores\` of LockModule (${known})`);
  }

  /** Each of the stores, whatever becomes of the others. */
  private async close(): Promise<void> {
    const closed = await Promise.allSettled([this.standard, ...this.named.values()].map((locks) => locks.close()));
    for (const one of closed) if (one.status === 'rejected') throw one.reason;
  }
}

/** Which fences a store has is for the application to say: it injects the service as what its store makes of it. */
function fenced<Held>(held: HeldLease | NestedLease | HeldSet): Held {
  return held as unknown as Held;
}
