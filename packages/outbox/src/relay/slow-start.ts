import { monotonicMs } from '@lockstep/core';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/**
 * How much to take and when, after failures: nothing for a growing pause, then a single message to see whether it works
 * again, then twice as many each time. So an outage of the transport moves a handful of rows in flight and not all.
 */
export class SlowStart {
  private failures = 0;
  private resumeAt = 0;
  private allowed: number;

  constructor(private readonly full: number) {
    this.allowed = full;
  }

  get limit(): number {
    return this.allowed;
  }

  isPausing(): boolean {
    return monotonicMs() < this.resumeAt;
  }

  succeeded(): void {
    this.failures = 0;
    this.allowed = Math.min(this.allowed * 2, this.full);
  }

  failed(): void {
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** this.failures, LONGEST_PAUSE_MS);
    this.failures += 1;
    this.allowed = 1;
    this.resumeAt = monotonicMs() + pauseMs;
  }
}
