import { LockstepError } from '@lockstep/core';
import type { OperationInProgressError } from '../idempotency.errors.js';

/** A job of BullMQ, known by its form: BullMQ is no dependency. */
export interface QueuedJob {
  readonly name: string;
  readonly data: unknown;
  /** What the worker that has the job locks it with. */
  readonly token?: unknown;
  moveToDelayed(timestamp: number, token: string): Promise<void>;
}

export function isQueuedJob(value: unknown): value is QueuedJob {
  if (typeof value !== 'object' || value === null) return false;
  const isJob = 'attemptsMade' in value && 'data' in value && 'name' in value;
  return isJob && 'moveToDelayed' in value && typeof value.moveToDelayed === 'function';
}

/** The job has been put off, for as long as somebody else is at its operation. */
export class JobPutOffError extends LockstepError {
  constructor(cause: OperationInProgressError) {
    super({
      code: 'JOB_PUT_OFF',
      kind: 'busy',
      message: 'The operation of this job is still running; the job has been put off until it may have ended.',
      retryAfterMs: cause.retryAfterMs ?? 0,
      cause,
    });
    // By which BullMQ knows that the job has neither failed nor completed.
    this.name = 'DelayedError';
  }
}

/**
 * What a call that found its operation running throws. A job among its arguments is put off first, which costs it no
 * attempt: it did nothing wrong, and one that is out of attempts would be failed while its work goes on.
 */
export async function whileInProgress(
  busy: OperationInProgressError,
  args: readonly unknown[],
): Promise<LockstepError> {
  const job = args.find(isQueuedJob);
  if (typeof job?.token !== 'string') return busy;
  await job.moveToDelayed(Date.now() + (busy.retryAfterMs ?? 0), job.token);
  return new JobPutOffError(busy);
}
