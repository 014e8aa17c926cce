import { ConfigurationError } from './errors/configuration.error.js';

/** A length of time: milliseconds, or a number with its unit (`'250ms'`, `'30s'`, `'5m'`, `'24h'`, `'14d'`). */
export type Duration = number | `${number}${DurationUnit}`;

type DurationUnit = 'ms' | 's' | 'm' | 'h' | 'd';

/** What an option allows; both ends belong to the range. */
export interface DurationBounds {
  /** @default 0 */
  readonly minMs?: number;
  /** @default no upper end, though always finite */
  readonly maxMs?: number;
}

const UNIT_MS: Record<DurationUnit, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/**
 * Milliseconds of `value`, rounded to whole ones. A duration is finite: nothing here waits for ever.
 *
 * @param option name of the option, for the message
 * @throws ConfigurationError naming the option and the value when it is no duration or lies outside the bounds
 */
export function durationMs(value: Duration, option: string, bounds: DurationBounds = {}): number {
  const { minMs = 0, maxMs = Number.POSITIVE_INFINITY } = bounds;
  const ms = typeof value === 'number' ? value : parse(value);
  if (ms === undefined || !Number.isFinite(ms)) {
    throw ConfigurationError.option(option, value, "a duration such as '30s' or a number of milliseconds");
  }
  if (ms < minMs || ms > maxMs) {
    const range = Number.isFinite(maxMs) ? `from ${minMs} ms to ${maxMs} ms` : `of at least ${minMs} ms`;
    throw ConfigurationError.option(option, value, `a duration ${range}`);
  }
  return Math.round(ms);
}

function parse(text: unknown): number | undefined {
  const match = typeof text === 'string' ? PATTERN.exec(text) : null;
  if (!match) return undefined;
  const [, amount, unit] = match;
  return Number(amount) * UNIT_MS[unit as DurationUnit];
}
