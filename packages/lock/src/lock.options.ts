import { type Duration, durationMs } from '@lockstep/core';

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
}

export interface LockTimes {
  readonly ttlMs: number;
  readonly waitMs: number;
}

export interface LockOptions extends LockModuleOptions {
  /** Gives the waiting up; the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const TTL_BOUNDS = { minMs: 100, maxMs: 86_400_000 };
const WAIT_BOUNDS = { minMs: 0, maxMs: 86_400_000 };

/** @throws ConfigurationError naming the option and its value */
export function resolveLockOptions(
  options: LockModuleOptions,
  defaults: LockTimes = { ttlMs: 10_000, waitMs: 5_000 },
): LockTimes {
  const { ttl, wait } = options;
  if (ttl === undefined && wait === undefined) return defaults;
  return Object.freeze({
    ttlMs: ttl === undefined ? defaults.ttlMs : durationMs(ttl, 'ttl', TTL_BOUNDS),
    waitMs: wait === undefined ? defaults.waitMs : durationMs(wait, 'wait', WAIT_BOUNDS),
  });
}
