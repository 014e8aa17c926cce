import type { MethodCall } from '@lockstep/core';
import { isObservable } from 'rxjs';
import { Execution } from '../execution.js';
import { AnswerOutsideTransactionError } from '../idempotency.errors.js';

/**
 * Calls what stands inside of an open transaction. An Observable would be subscribed to by somebody else, in a context
 * of its own that need not know the transaction.
 *
 * @throws AnswerOutsideTransactionError, which rolls back
 */
export async function callInTransaction(call: MethodCall): Promise<unknown> {
  const result = await call.proceed();
  if (isObservable(result)) throw new AnswerOutsideTransactionError(call.name, 'it returned an Observable');
  return result;
}

/**
 * What an interceptor made of the handler's answer counts only once the handler has ended: what it did after the commit
 * would be part of nothing.
 *
 * @throws AnswerOutsideTransactionError, which rolls back
 */
export function assertHandlerEnded(operation: string): void {
  if (!Execution.current()?.work) return;
  throw new AnswerOutsideTransactionError(operation, 'an interceptor answered before the handler had ended');
}
