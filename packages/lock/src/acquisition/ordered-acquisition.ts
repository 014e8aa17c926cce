import { monotonicMs } from '@lockstep/core';
import type { HeldLease } from '../lease/held-lease.js';
import { HeldSet } from '../lease/held-set.js';
import type { NestedLease } from '../lease/nested-lease.js';
import { LockKeyError } from '../lock.errors.js';
import type { ResolvedLockOptions } from '../lock.options.js';
import { assertLockKey } from '../lock-key.js';
import type { Busy } from '../lock-store.js';
import type { LockAcquisitions } from './lock-acquisitions.js';

type OwnLease = HeldLease | NestedLease;

/** More would make one script call block the server for others, and one busy key block many. */
const MOST_KEYS = 64;

/** The set could not be had because this key is busy. */
export interface BusyKey extends Busy {
  readonly key: string;
}

/**
 * Takes several locks. All callers take them in the same order, so of two that want the same
 * locks one waits for the other, and never each for the other.
 *
 * ```
 * prefix --all granted--> held
 *        --first busy key, wait left--> waiting for that key alone, the prefix held --granted--> prefix of the rest
 *        --wait over | error--> all given back --> busy | error
 * held prefix lost while waiting --> all given back, from the start
 * ```
 */
export async function takeInOrder(
  locks: LockAcquisitions,
  keys: readonly string[],
  options: ResolvedLockOptions,
  signal: AbortSignal | undefined,
): Promise<HeldSet | BusyKey> {
  const sorted = inOrder(keys);
  for (const key of sorted) locks.nested(key, options);
  const giveUpAt = monotonicMs() + options.waitMs;
  for (;;) {
    const attempt = new OrderedAcquisition(locks, sorted, options, signal, giveUpAt);
    const outcome = await attempt.run();
    if (outcome !== 'lost') return outcome;
    if (monotonicMs() >= giveUpAt) throw locks.lateGrant();
  }
}

class OrderedAcquisition {
  private readonly held: OwnLease[] = [];
  /** While a lock waits for the others of its set nothing is done under it. */
  private readonly unlimited: ResolvedLockOptions;

  constructor(
    private readonly locks: LockAcquisitions,
    private readonly keys: readonly string[],
    private readonly options: ResolvedLockOptions,
    private readonly signal: AbortSignal | undefined,
    private readonly giveUpAt: number,
  ) {
    this.unlimited = { ...options, maxHoldMs: Number.POSITIVE_INFINITY };
  }

  async run(): Promise<HeldSet | BusyKey | 'lost'> {
    try {
      while (this.held.length < this.keys.length) {
        this.signal?.throwIfAborted();
        const busy = await this.advance(this.keys[this.held.length] as string);
        if (busy || !this.held.every((lease) => lease.isHeld())) {
          await this.giveBack();
          return busy ?? 'lost';
        }
      }
      this.signal?.throwIfAborted();
    } catch (error) {
      await this.giveBack();
      throw error;
    }
    for (const lease of this.held) this.locks.limitHold(lease, this.options);
    return new HeldSet(this.held);
  }

  /** One key further, or as many as one step grants. */
  private async advance(key: string): Promise<BusyKey | undefined> {
    const nested = this.locks.nested(key, this.options);
    if (!nested) return (await this.takeFree()) ?? this.takeOne(this.keys[this.held.length]);
    this.held.push(nested);
    return undefined;
  }

  /** All of the rest that is free and not held by the caller already. Busy where the first that is not ends the wait. */
  private async takeFree(): Promise<BusyKey | undefined> {
    const rest = this.keys.slice(this.held.length);
    const end = rest.findIndex((key) => this.locks.nested(key, this.options) !== undefined);
    const wanted = end < 0 ? rest : rest.slice(0, end);
    if (wanted.length < 2) return undefined;
    const taken = await this.locks.takePrefix(wanted, this.unlimited);
    if (!taken) return undefined;
    this.held.push(...taken.leases);
    const busyKey = wanted[taken.leases.length];
    if (!taken.busy || busyKey === undefined || this.options.waitMs > 0) return undefined;
    this.locks.noteBusy(busyKey, 0);
    return { ...taken.busy, key: busyKey };
  }

  /** The next key by itself, unless all are taken or the next is the caller's. */
  private async takeOne(key: string | undefined): Promise<BusyKey | undefined> {
    if (key === undefined) return undefined;
    const waitMs = Math.max(this.giveUpAt - monotonicMs(), 0);
    const outcome = await this.locks.take(key, { ...this.unlimited, waitMs }, this.signal);
    if ('status' in outcome) return { ...outcome, key };
    this.held.push(outcome);
    return undefined;
  }

  /** At once, whatever their `minHold`: nothing was done under them. */
  private async giveBack(): Promise<void> {
    await Promise.all(this.held.map((lease) => lease.abandon()));
  }
}

/** Each key once, by code units, which is the same order for every process. @throws LockKeyError */
function inOrder(keys: unknown): readonly string[] {
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MOST_KEYS) {
    throw new LockKeyError(`a string, or a list of 1 to ${MOST_KEYS} strings`);
  }
  for (const key of keys) assertLockKey(key);
  return [...new Set<string>(keys)].sort();
}
