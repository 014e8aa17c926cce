import type { JobsOptions } from 'bullmq';

/** Larger than any count that is reached. */
export const NEVER = 1_000_000_000;

/**
 * Options of a job that BullMQ must neither give up nor keep: it runs until its consumer ends it, and once ended it is
 * gone. A kept one would swallow the re-delivery of its messages, which has the same id.
 */
export const DURABLE_JOB: JobsOptions = {
  attempts: NEVER,
  // Any type that BullMQ does not know asks the worker's own strategy.
  backoff: { type: 'lockstep' },
  removeOnComplete: true,
  removeOnFail: true,
  stackTraceLimit: 0,
};
