import type { Execution } from './execution.js';
import type { ErrorVerdict } from './idempotency.options.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { OperationKey } from './operation-id.js';
import type { TransactionIsolation } from './store-abilities.js';

export interface Operation extends OperationKey {
  /** What must be the same when the key is used again; hashed with the module's secret. */
  readonly payload: unknown;
}

/** How one operation deviates from the module's options. */
export interface ExecutionPolicy {
  readonly onLeaseExpiry?: LeaseExpiryPolicy;
  /** In milliseconds, a whole number from 1. */
  readonly retentionMs?: number;
  /** How long to wait for whoever is at it, in milliseconds; 0: not at all. */
  readonly waitMs?: number;
  readonly onError?: ErrorVerdict;
  /** Of the transaction, where the operation is one. Undefined: the server's default. */
  readonly isolation?: TransactionIsolation;
  /** Only what was issued may begin: see `TokenStore`. */
  readonly requiresIssue?: boolean;
}

export type Begun =
  | { readonly kind: 'execution'; readonly execution: Execution }
  | { readonly kind: 'replay'; readonly response: string };

/** How an execution ended. */
export type ExecutionEnd =
  | { readonly to: 'completed'; readonly response: string }
  | { readonly to: 'released'; readonly notApplied: boolean }
  | { readonly to: 'uncertain' };

/** What whoever answers the caller makes of an error. */
export interface AnswerOf {
  /** The end that the rules of its kind give it; undefined where they have none. */
  byRule(error: unknown): ExecutionEnd | undefined;
  /** The error as a final answer, where `onError` wants it stored; undefined where it is none. */
  asAnswer(error: unknown): ExecutionEnd | undefined;
}
