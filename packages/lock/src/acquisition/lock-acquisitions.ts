import { checkpoint, count, isLockstepError, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import { heldByCaller } from '../lease/current-lease.js';
import { HeldLease } from '../lease/held-lease.js';
import type { HeldLeases } from '../lease/held-leases.js';
import { NestedLease } from '../lease/nested-lease.js';
import { LockModeError, LockReentryError, LockShuttingDownError } from '../lock.errors.js';
import { modeName, type ResolvedLockOptions } from '../lock.options.js';
import type { LockEvents } from '../lock-events.js';
import { assertLockKey } from '../lock-key.js';
import type { AcquireRequest, Busy, Grant, LockState, StoreLoss } from '../lock-store.js';
import { OwnerTokens } from './owner-tokens.js';

/** Takes locks from one store for this process. */
export class LockAcquisitions {
  private readonly tokens = new OwnerTokens();
  private isClosing = false;

  constructor(
    private readonly leases: HeldLeases,
    private readonly events: LockEvents,
  ) {}

  /** One lock: held, held once more by code that holds it already, or busy. */
  async take(
    key: string,
    options: ResolvedLockOptions,
    signal: AbortSignal | undefined,
  ): Promise<HeldLease | NestedLease | Busy> {
    this.assertPossible(key, options);
    const outer = heldByCaller(key, this);
    if (outer) return reenter(outer, options);
    const startedAt = monotonicMs();
    const giveUpAt = startedAt + options.waitMs;
    for (;;) {
      this.assertOpen(key);
      const pending = new PendingLease(
        this.tokens.next(),
        key,
        options,
        this.leases,
        Math.max(giveUpAt - monotonicMs(), 0),
        signal,
      );
      const outcome = pending.settle(await this.leases.store.acquire(pending).catch(notTaken));
      if (!(outcome instanceof HeldLease)) {
        if (this.isClosing) continue;
        this.noteBusy(key, monotonicMs() - startedAt);
        return outcome;
      }
      if (this.keep(outcome, startedAt)) return outcome;
      await outcome.release();
      if (!this.isClosing && monotonicMs() >= giveUpAt) throw lateGrant();
    }
  }

  /**
   * Locks that are free, in their order up to the first that is not, in one step.
   *
   * @returns undefined when the store cannot do so with these keys
   */
  async takePrefix(
    keys: readonly string[],
    options: ResolvedLockOptions,
  ): Promise<{ readonly leases: readonly HeldLease[]; readonly busy: Busy | undefined } | undefined> {
    for (const key of keys) this.assertOpen(key);
    const startedAt = monotonicMs();
    const pending = keys.map((key) => new PendingLease(this.tokens.next(), key, options, this.leases, 0, undefined));
    const outcomes = await this.leases.store.acquirePrefix?.(pending).catch(notTaken);
    if (outcomes === undefined) return undefined;
    const taken = outcomes.map((outcome, index) => pending[index]?.settle(outcome));
    const granted = taken.filter((outcome) => outcome instanceof HeldLease);
    const leases = granted.filter((lease) => this.keep(lease, startedAt));
    if (leases.length < granted.length) {
      await Promise.all(granted.map((lease) => lease.release()));
      throw lateGrant();
    }
    return { leases, busy: taken.find((outcome): outcome is Busy => outcome !== undefined && 'status' in outcome) };
  }

  /** The lease that the calling code runs under, once more. @throws LockReentryError when it cannot have it so */
  nested(key: string, options: ResolvedLockOptions): NestedLease | undefined {
    this.assertPossible(key, options);
    const outer = heldByCaller(key, this);
    return outer && reenter(outer, options);
  }

  noteBusy(key: string, waitedMs: number): void {
    count('lockstep.lock.busy', this.leases.attributes);
    if (this.events.hasListeners) this.events.emit({ type: 'busy', key, store: this.leases.store.name, waitedMs });
  }

  inspect(key: string): Promise<LockState> {
    assertLockKey(key);
    return this.leases.store.inspect(key);
  }

  async forceRelease(key: string): Promise<number> {
    const { holders } = await this.inspect(key);
    const deadline = monotonicMs();
    const outcomes = await this.leases.store.release(holders.map(({ token }) => ({ key, token, deadline })));
    const failed = outcomes.find((outcome) => outcome.status === 'failed');
    if (failed?.status === 'failed') throw failed.error;
    return outcomes.filter(({ status }) => status === 'released').length;
  }

  async close(): Promise<void> {
    this.isClosing = true;
    await this.leases.releaseAll();
    await this.leases.store.close();
  }

  /** False when the grant took longer to arrive than its lease lasts, or nobody may keep it any longer. */
  private keep(lease: HeldLease, startedAt: number): boolean {
    if (this.isClosing || !lease.isHeld()) return false;
    this.leases.add(lease);
    count('lockstep.lock.acquired', this.leases.attributes);
    if (this.events.hasListeners) {
      const { key, fence } = lease;
      const waitedMs = monotonicMs() - startedAt;
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
    if (capacity === 1) return;
    const { name, abilities } = this.leases.store;
    const isReader = capacity === Number.POSITIVE_INFINITY;
    if (abilities.shares === 'any' || (abilities.shares === 'readers' && isReader)) return;
    throw new LockModeError(key, name, modeName(capacity));
  }
}

/** A request on its way, and what becomes of it. */
class PendingLease implements AcquireRequest {
  private lease: HeldLease | undefined;
  private lostBefore: StoreLoss | undefined;

  constructor(
    readonly token: string,
    readonly key: string,
    private readonly options: ResolvedLockOptions,
    private readonly leases: HeldLeases,
    readonly waitMs: number,
    readonly signal: AbortSignal | undefined,
  ) {}

  get ttlMs(): number {
    return this.options.ttlMs;
  }

  get capacity(): number {
    return this.options.capacity;
  }

  get fairness(): AcquireRequest['fairness'] {
    return this.options.fairness;
  }

  readonly onLost = (cause: StoreLoss): void => {
    this.lostBefore = cause;
    this.lease?.lose(cause);
  };

  settle(outcome: Grant<bigint | undefined> | Busy): HeldLease | Busy {
    if (outcome.status === 'busy') return outcome;
    this.lease = new HeldLease(this.key, this.token, this.options, outcome, this.leases);
    if (this.lostBefore) this.lease.lose(this.lostBefore);
    return this.lease;
  }
}

/** What is held alone serves any wish; what is shared serves the same wish only, or the caller would wait for itself. */
function reenter(outer: HeldLease, options: ResolvedLockOptions): NestedLease {
  if (!options.isReentrant) throw new LockReentryError(outer.key, 'and it was asked for with `reentrant: false`');
  const held = outer.options.capacity;
  if (held === 1 || held === options.capacity) return new NestedLease(outer);
  throw new LockReentryError(outer.key, `as ${modeName(held)}, which does not become ${modeName(options.capacity)}`);
}

function lateGrant(): StoreUnavailableError {
  return unavailable(new Error('the grant arrived after its lease had ended'));
}

/**
 * What the store executed of a request whose answer was lost is between it and its backend; for whoever wanted the
 * lock nothing has happened, and an idempotency outside must not take the guarded work for half done.
 */
function notTaken(cause: unknown): never {
  if (!isLockstepError(cause)) throw cause;
  throw cause.kind === 'unknown' || cause.fields.outcome === 'unknown' ? unavailable(cause) : cause;
}

function unavailable(cause: unknown): StoreUnavailableError {
  const store = String((isLockstepError(cause) && cause.fields.store) || 'lock');
  return new StoreUnavailableError({ store, operation: 'lock.acquire', outcome: 'not-applied', cause });
}
