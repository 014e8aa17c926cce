import { hkdfSync } from 'node:crypto';
import { ConfigurationError, type Duration, durationMs, Keyring, type KeyringOptions } from '@lockstep/core';

/**
 * - `stored`: a record per token, which must exist. Any number of tokens per user; repetitions get the first answer.
 * - `single`: one token per user and purpose, taken by compare and delete. The second use is refused without an answer, a
 *   second tab takes the token from the first, and a submit that fails has used it up.
 * - `stateless`: signed, so that issuing one costs no round trip; the first use makes the record. As `stored` else.
 */
export type TokenMode = 'stored' | 'single' | 'stateless';

/** How the tokens of one purpose are made. */
export interface TokenPlan {
  /** @default 'stored' */
  readonly mode?: TokenMode;
  /**
   * How long a token may be used for the first time, at most 30 days. `stateless`: at least a minute less than the
   * module's `retention`, or an answer could be forgotten while its token still counts.
   * @default '30m'
   */
  readonly ttl?: Duration;
}

export interface IdempotencyTokenOptions extends TokenPlan {
  /** Purposes that deviate, by name. */
  readonly purposes?: Readonly<Record<string, TokenPlan>>;
  /** Keys that sign stateless tokens, for rotation. @default one derived from the module's `secret` */
  readonly keyring?: KeyringOptions;
}

export interface ResolvedTokenPlan {
  readonly mode: TokenMode;
  readonly ttlMs: number;
}

export interface ResolvedTokenOptions extends ResolvedTokenPlan {
  readonly purposes: ReadonlyMap<string, ResolvedTokenPlan>;
  readonly keyring: Keyring;
}

/**
 * By how much the clocks of two nodes and of the store may differ together. A stateless token counts until its end by
 * the clock of whoever reads it, its answer is kept by the store's.
 */
export const CLOCK_SKEW_MS = 60_000;

const MODES: readonly string[] = ['stored', 'single', 'stateless'] satisfies TokenMode[];
const SHORTEST_TTL_MS = 100;
const LONGEST_TTL_MS = 30 * 24 * 3_600_000;
const PURPOSE = /^[A-Za-z0-9._:-]{1,64}$/;

/** @throws ConfigurationError naming the option and its value */
export function resolveTokenOptions(
  options: IdempotencyTokenOptions,
  { secret, retentionMs }: { readonly secret: string; readonly retentionMs: number },
): ResolvedTokenOptions {
  if (typeof options !== 'object' || options === null) {
    throw ConfigurationError.option('tokens', options, 'the options of tokens as an object');
  }
  const plan = resolvePlan('tokens', options, { mode: 'stored', ttlMs: 30 * 60_000 }, retentionMs);
  const purposes = Object.entries(options.purposes ?? {}).map(([purpose, own]): [string, ResolvedTokenPlan] => [
    checkedPurpose(purpose),
    resolvePlan(`tokens.purposes.${purpose}`, own, plan, retentionMs),
  ]);
  const keyring = new Keyring(options.keyring ?? { current: 'm', keys: { m: derivedKey(secret) } });
  return Object.freeze({ ...plan, purposes: new Map(purposes), keyring });
}

/** @throws ConfigurationError */
export function tokenTtlMs(option: string, ttl: Duration, mode: TokenMode, retentionMs: number): number {
  const ttlMs = durationMs(ttl, option, { minMs: SHORTEST_TTL_MS, maxMs: LONGEST_TTL_MS });
  if (mode !== 'stateless' || ttlMs + CLOCK_SKEW_MS <= retentionMs) return ttlMs;
  throw ConfigurationError.option(
    option,
    ttl,
    `at least ${CLOCK_SKEW_MS} ms less than retention (${retentionMs} ms) for stateless tokens, whose answers must ` +
      'outlive them',
  );
}

/** @throws ConfigurationError */
export function checkedPurpose(purpose: string): string {
  if (typeof purpose === 'string' && PURPOSE.test(purpose)) return purpose;
  throw ConfigurationError.option('purpose', purpose, 'a name of 1 to 64 letters, digits and . _ : -');
}

function resolvePlan(
  option: string,
  plan: TokenPlan,
  defaults: ResolvedTokenPlan,
  retentionMs: number,
): ResolvedTokenPlan {
  if (typeof plan !== 'object' || plan === null) throw ConfigurationError.option(option, plan, 'an object');
  const { mode = defaults.mode, ttl = defaults.ttlMs } = plan;
  if (!MODES.includes(mode)) throw ConfigurationError.option(`${option}.mode`, mode, MODES.join(', '));
  return Object.freeze({ mode, ttlMs: tokenTtlMs(`${option}.ttl`, ttl, mode, retentionMs) });
}

/** A key of its own, so that no fingerprint of a payload can be a signature of a token. */
function derivedKey(secret: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', 'lockstep:idempotency-token', 32));
}
