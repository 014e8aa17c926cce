import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { Fairness } from './lock-store.js';

/** Where the resolved {@link LockModuleOptions} are injected from. */
export const LOCK_DEFAULTS = Symbol('@lockstep/lock:LOCK_DEFAULTS');

/** What is the same for all locks, unless a call says otherwise. */
export interface LockModuleOptions {
  /**
   * Length of a lease. It is extended while the holder lives, so this is how long others wait after a crash.
   * @default '10s'
   */
  readonly ttl?: Duration;
  /**
   * How long to wait for a lock that is held; 0 asks once.
   * @default '5s'
   */
  readonly wait?: Duration;
  /**
   * Whether code that runs under a lock gets it again at once, without asking the store; the lease, with its `ttl`,
   * `minHold` and `maxHold`, stays that of the outer code. Otherwise it gets `LockReentryError`, instead of waiting for
   * itself.
   * @default true
   */
  readonly reentrant?: boolean;
  /**
   * Who comes first when the lock is released: who waits longest (`fifo`), or whoever asks first (`barging`: more
   * throughput under contention, and no bound on who waits how long). Stores that do not queue treat both alike.
   * @default 'fifo'
   */
  readonly fairness?: Fairness;
}

/**
 * How a key is held: by one alone (`exclusive`, and `write`, which is the same), by any number of readers and no
 * writer (`read`), or by at most so many at a time (`permits`). All who use a semaphore must name the same number.
 */
export type LockMode = 'exclusive' | 'read' | 'write' | { readonly permits: number };

export interface LockOptions extends LockModuleOptions {
  /** @default 'exclusive' */
  readonly mode?: LockMode;
  /**
   * Keeps the lock at least this long, even when the work is done sooner: a scheduled job that takes a moment runs
   * once in a fleet whose clocks differ by less than this. With stores whose locks end with a session it ends with
   * the process.
   * @default 0
   */
  readonly minHold?: Duration;
  /**
   * Gives the lock up after this long, even if the work goes on: its signal aborts then.
   * @default no bound
   */
  readonly maxHold?: Duration;
  /** Which of the module's `stores`; the module's `store` when absent. */
  readonly store?: string;
  /** Gives the waiting up; the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface ResolvedLockOptions {
  readonly ttlMs: number;
  readonly waitMs: number;
  readonly isReentrant: boolean;
  readonly fairness: Fairness;
  /** How many may hold the key together: 1, permits, or Infinity for readers. */
  readonly capacity: number;
  readonly minHoldMs: number;
  /** Infinity without a bound. */
  readonly maxHoldMs: number;
  readonly store: string | undefined;
}

const TTL_BOUNDS = { minMs: 100, maxMs: 86_400_000 };
const WAIT_BOUNDS = { minMs: 0, maxMs: 86_400_000 };
const MIN_HOLD_BOUNDS = { minMs: 0, maxMs: 86_400_000 };
const MAX_HOLD_BOUNDS = { minMs: 100 };
const MOST_PERMITS = 1_000_000;

const DEFAULTS: ResolvedLockOptions = Object.freeze({
  ttlMs: 10_000,
  waitMs: 5_000,
  isReentrant: true,
  fairness: 'fifo',
  capacity: 1,
  minHoldMs: 0,
  maxHoldMs: Number.POSITIVE_INFINITY,
  store: undefined,
});

/** @throws ConfigurationError naming the option and its value */
export function resolveLockOptions(
  options: LockOptions,
  defaults: ResolvedLockOptions = DEFAULTS,
): ResolvedLockOptions {
  const { ttl, wait, reentrant, fairness, mode, minHold, maxHold, store, signal } = options;
  if (signal !== undefined) assertSignal(signal);
  const resolved: ResolvedLockOptions = {
    ttlMs: ttl === undefined ? defaults.ttlMs : durationMs(ttl, 'ttl', TTL_BOUNDS),
    waitMs: wait === undefined ? defaults.waitMs : durationMs(wait, 'wait', WAIT_BOUNDS),
    isReentrant: reentrant === undefined ? defaults.isReentrant : checkedFlag(reentrant),
    fairness: fairness === undefined ? defaults.fairness : checkedFairness(fairness),
    capacity: mode === undefined ? defaults.capacity : capacityOf(mode),
    minHoldMs: minHold === undefined ? defaults.minHoldMs : durationMs(minHold, 'minHold', MIN_HOLD_BOUNDS),
    maxHoldMs: maxHold === undefined ? defaults.maxHoldMs : durationMs(maxHold, 'maxHold', MAX_HOLD_BOUNDS),
    store: store === undefined ? defaults.store : checkedName(store),
  };
  if (resolved.minHoldMs > resolved.maxHoldMs) {
    throw ConfigurationError.option('minHold', minHold, `not longer than maxHold (${resolved.maxHoldMs} ms)`);
  }
  return resolved;
}

/** For messages. */
export function modeName(capacity: number): string {
  if (capacity === 1) return 'exclusive';
  return capacity === Number.POSITIVE_INFINITY ? 'read' : `one of ${capacity} permits`;
}

function capacityOf(mode: LockMode): number {
  if (mode === 'exclusive' || mode === 'write') return 1;
  if (mode === 'read') return Number.POSITIVE_INFINITY;
  const permits: unknown = mode?.permits;
  if (typeof permits === 'number' && Number.isInteger(permits) && permits >= 1 && permits <= MOST_PERMITS) {
    return permits;
  }
  throw ConfigurationError.option('mode', mode, `'exclusive', 'read', 'write' or { permits: 1 to ${MOST_PERMITS} }`);
}

function checkedFairness(fairness: unknown): Fairness {
  if (fairness === 'fifo' || fairness === 'barging') return fairness;
  throw ConfigurationError.option('fairness', fairness, "'fifo' or 'barging'");
}

function checkedFlag(reentrant: unknown): boolean {
  if (typeof reentrant === 'boolean') return reentrant;
  throw ConfigurationError.option('reentrant', reentrant, 'true or false');
}

function checkedName(store: unknown): string {
  if (typeof store === 'string') return store;
  throw ConfigurationError.option('store', store, 'the name of one of the `stores` of LockModule');
}

/** Also one of another realm or a polyfill. */
function assertSignal(signal: unknown): void {
  const { throwIfAborted } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof throwIfAborted !== 'function') throw ConfigurationError.option('signal', signal, 'an AbortSignal');
}
