import { type Duration, durationMs } from '@lockstep/core';

export interface SqlIdempotencyOptions {
  /** Pause between two purges of what has come to its end, at least 1 s. @default '1m' */
  readonly purgeEvery?: Duration;
}

export interface ResolvedSqlIdempotencyOptions {
  readonly purgeEveryMs: number;
}

/** @throws ConfigurationError naming the option and its value */
export function resolveSqlIdempotencyOptions(options: SqlIdempotencyOptions): ResolvedSqlIdempotencyOptions {
  return Object.freeze({
    purgeEveryMs: durationMs(options.purgeEvery ?? '1m', 'purgeEvery', { minMs: 1_000, maxMs: 86_400_000 }),
  });
}
