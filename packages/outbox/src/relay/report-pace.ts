import { monotonicMs } from '@lockstep/core';

/** Lets a condition that lasts be reported once in a while for each of its subjects, and at once for a new one. */
export class ReportPace {
  private readonly reportedAt = new Map<string, number>();

  constructor(private readonly everyMs: number) {}

  /** Whether it is time to report `subject`; when it is, the caller does. */
  isDue(subject: string): boolean {
    const nowMs = monotonicMs();
    // In the order of their reports, so what has expired stands first.
    for (const [name, atMs] of this.reportedAt) {
      if (nowMs - atMs < this.everyMs) break;
      this.reportedAt.delete(name);
    }
    if (this.reportedAt.has(subject)) return false;
    this.reportedAt.set(subject, nowMs);
    return true;
  }
}
