import { ConfigurationError } from '@lockstep/core';
import { Execution, type Journal } from '../execution.js';
import type { ErrorVerdict } from '../idempotency.options.js';
import type { BeginRequest } from '../idempotency-store.js';
import type { TransactionalRun } from '../store-abilities.js';

/** A run in a transaction: it has no lease that could end and that somebody would have to renew, and no steps. */
export function executionInTransaction(
  request: BeginRequest,
  { fence, recovered }: TransactionalRun,
  onError: ErrorVerdict,
): Execution {
  const forever = Number.POSITIVE_INFINITY;
  return new Execution({
    ...request,
    fence,
    recovered,
    onError,
    leaseEndsAt: forever,
    renewUntil: forever,
    openJournal: ({ operation }) => new NoJournal(operation),
  });
}

/** A step that is kept although the transaction around it is rolled back would be a lie, and one that is not is none. */
class NoJournal implements Journal {
  constructor(private readonly operation: string) {}

  read<T>(): T | undefined {
    return undefined;
  }

  async phase<T>(step: string): Promise<T> {
    throw new ConfigurationError(
      `${this.operation} is one transaction, which is committed as a whole: it has no steps such as '${step}'. ` +
        "Use the mode 'lease' for steps.",
    );
  }
}
