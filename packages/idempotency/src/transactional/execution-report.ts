import { checkpoint, count, isLockstepError, StoreUnavailableError } from '@lockstep/core';
import type { Execution } from '../execution.js';
import type { IdempotencyEvents } from '../idempotency-events.js';
import type { TransactionalOutcome, TransactionalWork } from '../store-abilities.js';

type End = 'completed' | 'uncertain' | 'released';

/**
 * What metrics and listeners hear of one operation: one beginning and one end, however often the database makes it run.
 */
export class ExecutionReport {
  private execution: Execution | undefined;
  private end: End = 'completed';

  constructor(private readonly events: IdempotencyEvents) {}

  /** A run has the claim. */
  began(execution: Execution): void {
    const isFirst = this.execution === undefined;
    this.execution = execution;
    if (!isFirst) return;
    const { id, operation, fence, recovered } = execution;
    count('lockstep.idempotency.begin', { outcome: 'acquired' });
    this.events.emit({ type: 'begun', id, operation, fence, recovered });
  }

  /** A run has ended; what it did is still to be committed. */
  worked({ response }: TransactionalWork<unknown>): void {
    this.end = response === undefined ? 'uncertain' : 'completed';
  }

  /** The store has had its say. A run that was rolled back may have lost the operation to others. */
  decided({ outcome }: TransactionalOutcome<unknown>): void {
    if (!this.execution) return;
    if (outcome === 'executed') checkpoint('idempotency.settled');
    this.finish(outcome === 'executed' ? this.end : 'released', this.execution);
  }

  failed(error: unknown): void {
    if (this.execution) this.finish(isCommitUnknown(error) ? 'uncertain' : 'released', this.execution);
    else if (error instanceof StoreUnavailableError) count('lockstep.idempotency.begin', { outcome: 'unavailable' });
  }

  private finish(end: End, { id, operation, fence }: Execution): void {
    count('lockstep.idempotency.end', { end });
    this.events.emit({ type: end, id, operation, fence });
  }
}

/** By its code: the package that throws it is not installed where nobody needs it. */
function isCommitUnknown(error: unknown): boolean {
  return isLockstepError(error) && error.code === 'COMMIT_OUTCOME_UNKNOWN';
}
