import { type Duration, durationMs } from '@lockstep/core';

export interface PostgresSessionOptions {
  /** Pause between two purges of what has run out, at least 1 s. @default '1m' */
  readonly purgeEvery?: Duration;
}

export interface ResolvedPostgresSessionOptions {
  readonly purgeEveryMs: number;
}

/** @throws ConfigurationError naming the option and its value */
export function resolvePostgresSessionOptions(options: PostgresSessionOptions): ResolvedPostgresSessionOptions {
  return Object.freeze({
    purgeEveryMs: durationMs(options.purgeEvery ?? '1m', 'purgeEvery', { minMs: 1_000, maxMs: 86_400_000 }),
  });
}
