import { ConfigurationError, type DriverProvider, type Duration, durationMs } from '@lockstep/core';
import type { EpochStore } from '../../epoch-store.js';

export interface SealedCookieOptions {
  /**
   * Of the cookie's value, about three quarters of which are attributes. More is a `SessionTooLargeError`. From 256 to
   * 4000, because browsers keep 4096 bytes of name and value.
   * @default 3800
   */
  readonly maxBytes?: number;
  /**
   * By how much the clocks of the processes may differ. A cookie that is further ahead is refused. At most 10 min.
   * @default '30s'
   */
  readonly maxSkew?: Duration;
  /**
   * Where users' revocation epochs are, so that `revokeAll` can end sessions: `redisEpochStore()`. Costs one read for
   * each request with a session of somebody.
   * @default none, and then nothing but their time ends sessions
   */
  readonly epochs?: DriverProvider<EpochStore>;
  /** Clock in epoch milliseconds. @default the calendar's, which is all that processes have in common */
  readonly nowMs?: () => number;
}

export interface ResolvedSealedCookieOptions {
  readonly maxBytes: number;
  readonly maxSkewMs: number;
  readonly nowMs: () => number;
}

const LEAST_BYTES = 256;
export const MOST_SEALED_BYTES = 4_000;
const MOST_SKEW_MS = 600_000;

/** @throws ConfigurationError naming the option and its value */
export function resolveSealedCookieOptions(options: SealedCookieOptions): ResolvedSealedCookieOptions {
  const { maxBytes = 3_800, maxSkew = '30s', nowMs = Date.now } = options;
  if (!Number.isInteger(maxBytes) || maxBytes < LEAST_BYTES || maxBytes > MOST_SEALED_BYTES) {
    const expected = `a whole number of bytes from ${LEAST_BYTES} to ${MOST_SEALED_BYTES}`;
    throw ConfigurationError.option('maxBytes', maxBytes, expected);
  }
  if (typeof nowMs !== 'function') throw ConfigurationError.option('nowMs', nowMs, 'a function');
  return Object.freeze({ maxBytes, maxSkewMs: durationMs(maxSkew, 'maxSkew', { maxMs: MOST_SKEW_MS }), nowMs });
}
