import { monotonicMs } from '@lockstep/core';
import type { ResolvedOnMessageOptions } from './on-message.options.js';

const LONGEST_OUTAGE_PAUSE_MS = 30_000;
/** Of a pause: what is drawn lies between this and 1.2. */
const SHORTEST_SHARE = 0.8;

/** How long a consumer waits before it sees a message again; drawn, so that those that failed together do not return together. */
export class RetryPauses {
  private outages = 0;
  private growsAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly options: Pick<ResolvedOnMessageOptions, 'firstPauseMs' | 'longestPauseMs'>,
    private readonly nowMs: () => number = monotonicMs,
  ) {}

  /** @param attempt the one that failed, from 1 */
  afterAttempt(attempt: number): number {
    return spread(Math.min(this.options.firstPauseMs * 2 ** (attempt - 1), this.options.longestPauseMs));
  }

  /**
   * Grows over the deliveries of all messages, because an outage concerns them all; and no faster than the pauses pass, or
   * a full batch that met a moment's outage would be put off as if it had lasted.
   */
  afterOutage(): number {
    const nowMs = this.nowMs();
    if (nowMs >= this.growsAtMs) {
      this.outages = Math.min(this.outages + 1, 20);
      this.growsAtMs = nowMs + this.pauseMs() * SHORTEST_SHARE;
    }
    return spread(this.pauseMs());
  }

  /** A message was done: whatever was away is back. */
  answered(): void {
    this.outages = 0;
    this.growsAtMs = Number.NEGATIVE_INFINITY;
  }

  private pauseMs(): number {
    return Math.min(this.options.firstPauseMs * 2 ** Math.max(this.outages - 1, 0), LONGEST_OUTAGE_PAUSE_MS);
  }
}

function spread(pauseMs: number): number {
  return Math.round(pauseMs * (SHORTEST_SHARE + Math.random() * 0.4));
}
