import type { Execution } from './execution.js';
import type { ErrorVerdict } from './idempotency.options.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { OperationKey } from './operation-id.js';

export interface Operation extends OperationKey {
  /** What must be the same when the key is used again; hashed with the module's secret. */
  readonly payload: unknown;
}

/** How one operation deviates from the module's options. */
export interface ExecutionPolicy {
  readonly onLeaseExpiry?: LeaseExpiryPolicy;
  /** In milliseconds. */
  readonly retentionMs?: number;
  /** How long to wait for whoever is at it, in milliseconds; 0: not at all. */
  readonly waitMs?: number;
  readonly onError?: ErrorVerdict;
}

export type Begun =
  | { readonly kind: 'execution'; readonly execution: Execution }
  | { readonly kind: 'replay'; readonly response: string };

/** How an execution ended. */
export type ExecutionEnd =
  | { readonly to: 'completed'; readonly response: string }
  | { readonly to: 'released'; readonly notApplied: boolean }
  | { readonly to: 'uncertain' };

/** An operator's verdict. */
export type OperatorVerdict = { readonly to: 'completed'; readonly response: string } | { readonly to: 'released' };
