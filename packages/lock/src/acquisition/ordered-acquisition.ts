import { monotonicMs } from '@lockstep/core';
import { HeldLease } from '../lease/held-lease.js';
import { HeldSet } from '../lease/held-set.js';
import type { NestedLease } from '../lease/nested-lease.js';
import { LockKeyError } from '../lock.errors.js';
import type { ResolvedLockOptions } from '../lock.options.js';
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
  const giveUpAt = monotonicMs() + options.waitMs;
  for (;;) {
    const attempt = new OrderedAcquisition(locks, sorted, options, signal, giveUpAt);
    const outcome = await attempt.run();
    if (!(outcome instanceof HeldSet) || outcome.isHeld()) return outcome;
    await outcome.release();
    const last = outcome.keys.at(-1) ?? '';
    if (monotonicMs() >= giveUpAt) return { status: 'busy', remainingMs: 0, key: last };
  }
}

class OrderedAcquisition {
  private readonly held: OwnLease[] = [];

  constructor(
    private readonly locks: LockAcquisitions,
    private readonly keys: readonly string[],
    private readonly options: ResolvedLockOptions,
    private readonly signal: AbortSignal | undefined,
    private readonly giveUpAt: number,
  ) {}

  async run(): Promise<HeldSet | BusyKey> {
    try {
      for (;;) {
        const busy = await this.advance();
        if (busy) {
          await this.giveBack();
          return busy;
        }
        if (this.held.length === this.keys.length) return new HeldSet(this.held);
      }
    } catch (error) {
      await this.giveBack();
      throw error;
    }
  }

  /** One key further, or as many as one step grants. */
  private async advance(): Promise<BusyKey | undefined> {
    this.signal?.throwIfAborted();
    const key = this.keys[this.held.length] as string;
    const nested = this.locks.nested(key, this.options);
    if (nested) {
      this.held.push(nested);
      return undefined;
    }
    return (await this.takeFree()) ? undefined : this.takeOne(this.keys[this.held.length] as string);
  }

  /** All of the rest that is free and not held by the caller already; whether that was at least one. */
  private async takeFree(): Promise<boolean> {
    const rest = this.keys.slice(this.held.length);
    const end = rest.findIndex((key) => this.locks.nested(key, this.options) !== undefined);
    const wanted = end < 0 ? rest : rest.slice(0, end);
    if (wanted.length < 2) return false;
    const taken = await this.locks.takePrefix(wanted, this.options);
    if (!taken) return false;
    this.held.push(...taken.leases);
    return taken.busy === undefined;
  }

  private async takeOne(key: string): Promise<BusyKey | undefined> {
    const waitMs = Math.max(this.giveUpAt - monotonicMs(), 0);
    const outcome = await this.locks.take(key, { ...this.options, waitMs }, this.signal);
    if ('status' in outcome) return { ...outcome, key };
    this.held.push(outcome);
    return undefined;
  }

  private async giveBack(): Promise<void> {
    await Promise.all(this.held.map((lease) => lease.release()));
  }
}

/** Each key once, by code units, which is the same order for every process. */
function inOrder(keys: unknown): readonly string[] {
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MOST_KEYS) {
    throw new LockKeyError(`a string, or a list of 1 to ${MOST_KEYS} strings`);
  }
  return [...new Set<string>(keys)].sort();
}
