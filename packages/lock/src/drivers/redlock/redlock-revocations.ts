import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, monotonicMs } from '@lockstep/core';
import type { RedlockNode } from './redlock-node.js';
import type { LockKeys } from './redlock-scripts.js';

/** A vote that must not stand, though the request for it may still be on its way. */
export interface Revocation {
  readonly node: RedlockNode;
  readonly keys: LockKeys;
  /** `token|round|`, or `token|` for whatever the token has. */
  readonly vote: string;
  /** Time of the node from which on no request for the vote is granted any longer; 0 when none is on its way. */
  readonly notAfterMs: number;
  /** Local monotonic time from which on the vote has ended by itself. */
  readonly uselessAt: number;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/**
 * Takes votes back behind the back of whoever asked for them: from nodes that were not needed, too slow, or away.
 *
 * ```
 * revoking --released, none on its way--> done
 *          --released before notAfter--> released again once notAfter has passed
 *          --no answer--> tried again with a growing pause, until uselessAt
 * ```
 */
export class RedlockRevocations {
  private readonly running = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(private readonly incidents: Incidents) {
    // Every revocation listens while it pauses; an outage makes many, which is no leak.
    setMaxListeners(0, this.closing.signal);
  }

  add(revocation: Revocation): void {
    const run = this.revoke(revocation).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  /** Every vote is released once more at most; what a node does not hear by then ends with its lease. */
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
      if (monotonicMs() > revocation.uselessAt) return;
      await this.pause(serverMs > 0 ? revocation.notAfterMs - serverMs + 1 : pauseMs);
      if (serverMs === 0) pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** The node's time of the release, or 0 when it did not answer. */
  private async tryRelease({ node, keys, vote }: Revocation): Promise<number> {
    try {
      return (await node.scripts.release.run({ keys, vote })).serverMs;
    } catch (cause) {
      this.incidents.report({
        code: 'LOCK_NOT_REVOKED',
        source: 'lock.redlock',
        message: 'a vote could not be taken back yet; it ends with its lease',
        cause,
        fields: { node: node.name },
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
