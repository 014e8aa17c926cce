/** A row that wants to be looked at again. */
export interface WakeUp {
  /** Which handler: a bounded set of names such as `outbox.redeliver`. */
  readonly queue: string;
  /** Which row. One wake-up exists per queue and id. */
  readonly id: string;
  /** Epoch milliseconds. The past means now. */
  readonly dueAt: number;
}

/** Looks at a row. Must decide from the row itself, under its own guard: wake-ups may come early, late or twice. */
export type WakeUpHandler = (id: string, signal: AbortSignal) => Promise<void>;

export interface WakeUpSubscription {
  /** Starts no further handler and waits for those that run, at most until `signal` aborts. */
  close(signal?: AbortSignal): Promise<void>;
}

/**
 * Port: wakes somebody for a row at a time. An alarm clock, not a record: the row is the truth, and whoever schedules
 * also sweeps, so that a lost wake-up delays work and never loses it.
 *
 * Contract:
 * - `schedule` replaces the wake-up of the same queue and id, to an earlier or a later time.
 * - A wake-up is delivered at least once to one of the handlers of its queue, wherever they run, not before `dueAt`.
 * - A handler never runs in the asynchronous context of whoever scheduled: not as its user, nor in its transaction.
 * - A handler that rejects is called again later, with growing pauses, a bounded number of times; then the wake-up is
 *   dropped and reported.
 * - `cancel` of what is not there does nothing; what already runs is not stopped.
 * - `schedule` and `cancel` reject with `StoreUnavailableError` while the server cannot be reached; `handle` takes
 *   effect as soon as it can be.
 */
export interface RetryScheduler {
  schedule(wakeUp: WakeUp): Promise<void>;
  cancel(queue: string, id: string): Promise<void>;
  handle(queue: string, handler: WakeUpHandler): Promise<WakeUpSubscription>;
  close(): Promise<void>;
}

export const RETRY_SCHEDULER = Symbol('@lockstep/core:RETRY_SCHEDULER');
