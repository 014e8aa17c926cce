import type { ResolvedOnMessageOptions } from './on-message.options.js';

const LONGEST_OUTAGE_PAUSE_MS = 30_000;

/** How long a consumer waits before it sees a message again; drawn, so that those that failed together do not return together. */
export class RetryPauses {
  private outages = 0;

  constructor(private readonly options: Pick<ResolvedOnMessageOptions, 'firstPauseMs' | 'longestPauseMs'>) {}

  /** @param attempt the one that failed, from 1 */
  afterAttempt(attempt: number): number {
    return spread(Math.min(this.options.firstPauseMs * 2 ** (attempt - 1), this.options.longestPauseMs));
  }

  /** Grows over the deliveries of all messages, because an outage concerns them all. */
  afterOutage(): number {
    const pauseMs = Math.min(this.options.firstPauseMs * 2 ** this.outages, LONGEST_OUTAGE_PAUSE_MS);
    this.outages = Math.min(this.outages + 1, 20);
    return spread(pauseMs);
  }

  /** A message was done: whatever was away is back. */
  answered(): void {
    this.outages = 0;
  }
}

function spread(pauseMs: number): number {
  return Math.round(pauseMs * (0.8 + Math.random() * 0.4));
}
