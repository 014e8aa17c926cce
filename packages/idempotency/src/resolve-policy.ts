import { ConfigurationError, durationMs } from '@lockstep/core';
import { checkedPolicy, checkedVerdict, concurrentWaitMs, type OnStoreDown } from './idempotency.options.js';
import type { IdempotencyMode, IdempotentPolicyOptions } from './idempotent.decorator.js';
import type { ExecutionPolicy } from './operation.js';
import type { TransactionIsolation } from './store-abilities.js';

/** What a route or a method may say of its executions, wherever their key comes from. */
export type PolicyOptions = Pick<IdempotentPolicyOptions, 'onLeaseExpiry' | 'retention' | 'onConcurrent' | 'onError'>;

/** How a route or a method is kept, checked. */
export interface ResolvedRunning {
  readonly mode: IdempotencyMode;
  readonly onStoreDown: OnStoreDown;
  readonly policy: ExecutionPolicy;
}

/** @throws ConfigurationError naming the option and its value */
export function resolveRunning(options: IdempotentPolicyOptions): ResolvedRunning {
  const { mode = 'lease', onStoreDown = 'reject' } = options;
  if (!['reject', 'bypass'].includes(onStoreDown)) {
    throw ConfigurationError.option('onStoreDown', onStoreDown, "'reject' or 'bypass'");
  }
  const isolation = checkedIsolation(options.isolation, checkedMode(mode));
  const policy = resolvePolicy(options);
  return { mode, onStoreDown, policy: isolation ? Object.freeze({ ...policy, isolation }) : policy };
}

/** @throws ConfigurationError */
export function checkedMode(mode: IdempotencyMode): IdempotencyMode {
  if (['lease', 'transactional'].includes(mode)) return mode;
  throw ConfigurationError.option('mode', mode, "'lease' or 'transactional'");
}

const ISOLATIONS: readonly unknown[] = ['read committed', 'repeatable read', 'serializable'];

/** @throws ConfigurationError */
function checkedIsolation(
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
