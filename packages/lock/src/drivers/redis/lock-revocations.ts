import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, monotonicMs } from '@lockstep/core';
import type { LockScripts } from './lock-scripts.js';

/** A token that must not own the lock, though a request of its may still be on its way. */
export interface Revocation {
  readonly lock: string;
  readonly token: string;
  /** Server time from which on no request of the token is granted any longer. */
  readonly notAfterMs: number;
  /** Local monotonic time at which even a lost release no longer matters: the lease has ended by itself. */
  readonly uselessAt: number;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/**
 * Takes locks back from tokens whose requests were given up: a timed-out command may still be executed, and would hold
 * the lock for a whole lease with nobody behind it.
 *
 * ```
 * revoking --released after notAfter--> done (whatever still arrives is refused by its own notAfter)
 * revoking --released before--> released again once notAfter has passed
 * revoking --no answer--> tried again, with a growing pause, until uselessAt
 * ```
 */
export class LockRevocations {
  private readonly running = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(
    private readonly release: LockScripts['revoke'],
    private readonly incidents: Incidents,
  ) {
    // Every revocation listens while it pauses; an outage makes many, which is no leak.
    setMaxListeners(0, this.closing.signal);
  }

  add(revocation: Revocation): void {
    const run = this.revoke(revocation).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  /** Ends the pauses: each revocation gets one more attempt. */
  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all(this.running);
  }

  private async revoke(revocation: Revocation): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      const isLast = this.closing.signal.aborted;
      const serverMs = await this.tryRelease(revocation);
      if (isLast || serverMs > revocation.notAfterMs) return;
      if (serverMs > 0) {
        await this.pause(revocation.notAfterMs - serverMs + 1);
        continue;
      }
      if (monotonicMs() > revocation.uselessAt) return;
      await this.pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** The server's time of the release, or 0 when it did not answer. */
  private async tryRelease({ lock, token }: Revocation): Promise<number> {
    try {
      return (await this.release.run({ lock, token })).serverMs;
    } catch (cause) {
      this.incidents.report({
        code: 'LOCK_NOT_REVOKED',
        source: 'lock.redis',
        message: 'a lock that was given up could not be released yet; its lease ends by itself',
        cause,
      });
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
