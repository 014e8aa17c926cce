import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';
import type { AcquireRequest, Busy, Grant } from '../../lock-store.js';
import type { LockRevocations } from './lock-revocations.js';
import type { AcquireItem, LockScripts } from './lock-scripts.js';

/** What all acquisitions of a store share. */
export interface AcquisitionHost {
  readonly connection: RedisConnection;
  readonly scripts: LockScripts;
  readonly revocations: LockRevocations;
  /** Those that wait for a push, so that closing the store can end them. */
  readonly waiting: Set<LockAcquisition>;
  /** Notes a granted token of which an earlier request may still arrive; its release must outlast that. */
  noteLateCopy(token: string, notAfterMs: number): void;
}

/** How often a request may be refused as late, each time with a better idea of the server's clock. */
const MOST_LATE = 3;

/**
 * One wish for a lock.
 *
 * ```
 * asking --granted--> done
 *        --busy, wait over--> done
 *        --busy--> subscribing --> asking --busy--> waiting --push | lease end | resubscribed--> asking
 *        --answer lost, wait left--> asking again with the same token (the script knows its owner)
 *        --answer lost, wait over--> given up
 * any    --give up (signal, close)--> given up: the token is revoked until no request of its can be granted
 * ```
 */
export class LockAcquisition {
  private readonly giveUpAt: number;
  /** Of the latest request; 0 before the first. */
  private notAfterMs = 0;
  private isAmbiguous = false;
  private isAsking = false;
  private isGivenUp = false;
  private isWoken = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly lock: string,
    private readonly request: AcquireRequest,
    private readonly host: AcquisitionHost,
  ) {
    this.giveUpAt = monotonicMs() + request.waitMs;
  }

  async run(): Promise<Grant | Busy> {
    try {
      const first = await this.ask(false);
      if (first.status === 'granted' || this.isOver()) return this.conclude(first);
      return this.conclude(await this.waitForTurn(first));
    } catch (error) {
      this.revokeIf(this.isAmbiguous);
      throw error;
    }
  }

  /** Stops waiting; what a request in flight still gets is taken back, and `run()` ends as busy. */
  giveUp(): void {
    if (this.isGivenUp) return;
    this.isGivenUp = true;
    this.revokeIf(this.isAsking || this.isAmbiguous);
    this.wake();
  }

  private async waitForTurn(first: Busy): Promise<Grant | Busy> {
    const rouse = (): void => {
      this.isWoken = true;
      this.wake();
    };
    const leave = await this.host.connection.subscribe(this.lock, rouse, rouse);
    this.host.waiting.add(this);
    try {
      let last = first;
      for (;;) {
        if (this.isOver()) return last;
        this.isWoken = false;
        const outcome = await this.ask(true);
        if (outcome.status === 'granted') return outcome;
        last = outcome;
        await this.sleep(last.remainingMs);
      }
    } finally {
      this.host.waiting.delete(this);
      void leave();
    }
  }

  /** Until a release is pushed, the other's lease ends, or the wait is over. */
  private sleep(remainingMs: number): Promise<void> {
    if (this.isWoken || this.isOver()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(remainingMs + 1, this.giveUpAt - monotonicMs()));
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private isOver(): boolean {
    return this.isGivenUp || monotonicMs() >= this.giveUpAt;
  }

  /** One definite answer, however many requests it takes. */
  private async ask(awaitsPush: boolean): Promise<Grant | Busy> {
    for (let late = 0; late < MOST_LATE; ) {
      const sentAt = monotonicMs();
      try {
        this.isAsking = true;
        const reply = await this.host.scripts.acquire.run(this.nextRequest(awaitsPush));
        if (reply.status === 'busy') return reply;
        if (reply.status === 'granted') {
          return { status: 'granted', fence: reply.fence, deadline: sentAt + this.request.ttlMs };
        }
        late += 1;
      } catch (error) {
        if (!isOutcomeUnknown(error)) throw error;
        this.isAmbiguous = true;
        if (this.isOver()) throw error;
      } finally {
        this.isAsking = false;
      }
    }
    const cause = new Error('the request reached the server too late');
    throw new StoreUnavailableError({ store: 'redis', operation: 'lock.acquire', outcome: 'not-applied', cause });
  }

  private nextRequest(awaitsPush: boolean): AcquireItem {
    const { connection } = this.host;
    const { token, ttlMs } = this.request;
    const boundMs = Math.min(connection.serverTimeBoundMs(), connection.commandTimeoutMs);
    this.notAfterMs = Math.ceil(connection.serverTimeMs() + boundMs + connection.commandTimeoutMs);
    return { lock: this.lock, token, ttlMs, notAfterMs: this.notAfterMs, awaitsPush };
  }

  /** For an outcome that nobody takes: a grant goes back. */
  discard(outcome: Grant | Busy): void {
    this.revokeIf(outcome.status === 'granted');
  }

  private conclude(outcome: Grant | Busy): Grant | Busy {
    if (this.isGivenUp) {
      this.discard(outcome);
      return { status: 'busy', remainingMs: 0 };
    }
    if (outcome.status === 'busy') this.revokeIf(this.isAmbiguous);
    else if (this.isAmbiguous) this.host.noteLateCopy(this.request.token, this.notAfterMs);
    return outcome;
  }

  private revokeIf(isNeeded: boolean): void {
    if (!isNeeded) return;
    const { connection, revocations } = this.host;
    const leftMs = Math.max(this.notAfterMs - connection.serverTimeMs(), 0);
    revocations.add({
      lock: this.lock,
      token: this.request.token,
      notAfterMs: this.notAfterMs,
      uselessAt: monotonicMs() + leftMs + this.request.ttlMs,
    });
  }
}

function isOutcomeUnknown(error: unknown): boolean {
  return error instanceof StoreUnavailableError && error.outcome === 'unknown';
}
