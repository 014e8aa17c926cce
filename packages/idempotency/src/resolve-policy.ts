import { ConfigurationError, durationMs } from '@lockstep/core';
import { checkedPolicy, checkedVerdict, concurrentWaitMs, type OnStoreDown } from './idempotency.options.js';
import type { IdempotencyMode, IdempotentPolicyOptions } from './idempotent.decorator.js';
import type { ExecutionPolicy } from './operation.js';
import type { TransactionIsolation } from './store-abilities.js';

/** What a route or a method may say of its executions, wherever their key comes from. */
export type PolicyOptions = Pick<IdempotentPolicyOptions, 'onLeaseExpiry' | 'retention' | 'onConcurrent' | 'onError'>;

/** @throws ConfigurationError naming the option and its value */
export function resolveRunning(options: IdempotentPolicyOptions): {
  readonly onStoreDown: OnStoreDown;
  readonly policy: ExecutionPolicy;
} {
  const { onStoreDown = 'reject' } = options;
  if (!['reject', 'bypass'].includes(onStoreDown)) {
    throw ConfigurationError.option('onStoreDown', onStoreDown, "'reject' or 'bypass'");
  }
  return { onStoreDown, policy: resolvePolicy(options) };
}

/** @throws ConfigurationError */
export function checkedMode(mode: IdempotencyMode): IdempotencyMode {
  if (['lease', 'transactional'].includes(mode)) return mode;
  throw ConfigurationError.option('mode', mode, "'lease' or 'transactional'");
}

const ISOLATIONS: readonly unknown[] = ['read committed', 'repeatable read', 'serializable'];

/** @throws ConfigurationError */
export function checkedIsolation(
  isolation: TransactionIsolation | undefined,
  mode: IdempotencyMode,
): TransactionIsolation | undefined {
  if (isolation === undefined) return undefined;
  if (!ISOLATIONS.includes(isolation)) {
    throw ConfigurationError.option('isolation', isolation, "'read committed', 'repeatable read' or 'serializable'");
  }
  if (mode === 'transactional') return isolation;
  throw ConfigurationError.option('isolation', isolation, "none, or the mode 'transactional'");
}

/** @throws ConfigurationError naming the option and its value */
export function resolvePolicy(options: PolicyOptions): ExecutionPolicy {
  const { onLeaseExpiry, retention, onConcurrent, onError } = options;
  return Object.freeze({
    ...(onLeaseExpiry === undefined ? {} : { onLeaseExpiry: checkedPolicy(onLeaseExpiry) }),
    ...(retention === undefined ? {} : { retentionMs: durationMs(retention, 'retention', { minMs: 1_000 }) }),
    ...(onConcurrent === undefined ? {} : { waitMs: concurrentWaitMs(onConcurrent) }),
    ...(onError === undefined ? {} : { onError: checkedVerdict(onError) }),
  });
}
