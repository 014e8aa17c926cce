import { isLockstepError, type LockstepError } from '@lockstep/core';
import { NotApplied, OperationLostError, OutcomeUnknown } from './idempotency.errors.js';
import type { ErrorVerdict } from './idempotency.options.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { AnswerOf, ExecutionEnd } from './operation.js';

/**
 * What an error says about the effect of an operation: none at all, repeating is safe, or nobody knows.
 */
export type FailureVerdict = 'not-applied' | 'released' | 'uncertain';

export interface Judges {
  readonly policy: LeaseExpiryPolicy;
  readonly onError: ErrorVerdict;
  readonly answerOf?: AnswerOf | undefined;
}

/**
 * Judges an error that came out of a handler after it was entered: the handler's own word first, then `onError`, then
 * the rules of whoever answers, then the error's kind.
 *
 * @throws what `onError` throws, or the error itself when it is looked at
 */
export function failureVerdict(error: unknown, { policy, onError, answerOf }: Judges): ExecutionEnd {
  if (error instanceof NotApplied) return endBy('not-applied');
  if (error instanceof OutcomeUnknown) return endBy('uncertain');
  const decided = onError(error);
  if (decided === 'release') return endBy('released');
  if (decided === 'uncertain') return endBy('uncertain');
  const end = decided === 'store' ? answerOf?.asAnswer(error) : undefined;
  return end ?? answerOf?.byRule(error) ?? endBy(isLockstepError(error) ? verdictOf(error, policy) : byPolicy(policy));
}

/** How an execution ends by a verdict. */
export function endBy(verdict: FailureVerdict): ExecutionEnd {
  return verdict === 'uncertain' ? { to: verdict } : { to: 'released', notApplied: verdict === 'not-applied' };
}

/** Nothing is known: where money is at stake nobody may try again, elsewhere trying again is what was chosen. */
export function byPolicy(policy: LeaseExpiryPolicy): FailureVerdict {
  return policy === 'uncertain' ? 'uncertain' : 'released';
}

/** All kinds but `unknown` mean that the refused step did not happen; a store's silence does not. */
function verdictOf(error: LockstepError, policy: LeaseExpiryPolicy): FailureVerdict {
  const { kind, fields } = error;
  // It noticed that its lease was over and went no further: what a lease that is over means, the policy says.
  if (error instanceof OperationLostError) return byPolicy(policy);
  if (kind === 'unknown') return 'uncertain';
  return fields.outcome === 'unknown' ? byPolicy(policy) : 'released';
}

/** The error that the caller shall see: what a verdict of the handler was wrapped around. */
export function unwrapVerdict(error: unknown): unknown {
  try {
    const isVerdict = error instanceof NotApplied || error instanceof OutcomeUnknown;
    return isVerdict ? (error.cause ?? error) : error;
  } catch {
    // It throws when it is looked at, so it is none of ours; who judged it has reported that.
    return error;
  }
}
