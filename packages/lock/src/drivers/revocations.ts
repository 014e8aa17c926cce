import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '@lockstep/core';

/** What must not be owned, though a request for it may still be on its way. */
export interface Revocable {
  /** Server time from which on no request for it is granted any longer; 0 when none is on its way. */
  readonly notAfterMs: number;
  /** Local monotonic time at which even a lost release no longer matters: the lease has ended by itself. */
  readonly uselessAt: number;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/**
 * Takes back what was given up: a timed-out command may still be executed, and would hold the lock for a whole lease
 * with nobody behind it.
 *
 * ```
 * revoking --released after notAfter--> done (whatever still arrives is refused by its own notAfter)
 * revoking --released before--> released again once notAfter has passed
 * revoking --no answer--> tried again, with a growing pause, until uselessAt
 * ```
 */
export class Revocations<Item extends Revocable> {
  private readonly running = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(
    /** Resolves to the server's time of the release. */
    private readonly release: (item: Item) => Promise<number>,
    private readonly report: (item: Item, cause: unknown) => void,
  ) {
    // Every revocation listens while it pauses; an outage makes many, which is no leak.
    setMaxListeners(0, this.closing.signal);
  }

  add(item: Item): void {
    const run = this.revoke(item).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  /** Ends the pauses: each revocation gets one more attempt. */
  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all(this.running);
  }

  private async revoke(item: Item): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      const isLast = this.closing.signal.aborted;
      const serverMs = await this.tryRelease(item);
      if (isLast || serverMs > item.notAfterMs) return;
      if (serverMs > 0) {
        await this.pause(item.notAfterMs - serverMs + 1);
        continue;
      }
      if (monotonicMs() > item.uselessAt) return;
      await this.pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** The server's time of the release, or 0 when it did not answer. */
  private async tryRelease(item: Item): Promise<number> {
    try {
      return await this.release(item);
    } catch (cause) {
      this.report(item, cause);
      return 0;
    }
  }

  private async pause(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { signal: this.closing.signal, ref: false });
    } catch (error) {
      if (!this.closing.signal.aborted) throw error;
    }
  }
}
