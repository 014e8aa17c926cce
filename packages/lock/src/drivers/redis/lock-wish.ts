import { monotonicMs } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';
import type { AcquireRequest } from '../../lock-store.js';
import type { LockPushes, PushListener } from './lock-pushes.js';
import type { AcquireItem } from './lock-scripts.js';

/** Steps of the times that requests carry: a request may be granted, and a waiter be kept, so much longer. */
const STEP_MS = 50;

/** The requests of one wish: all of them name the same token, the same end of waiting and the same first coming. */
export class LockWish {
  /** Server time after which the latest request is refused; 0 before the first. */
  notAfterMs = 0;
  /** Whether a request asked for a place in the queue. */
  isQueued = false;
  private giveUpServerMs = 0;
  /** Server time of the first place in the queue, in µs. */
  private sinceUs = 0;

  constructor(
    private readonly lock: string,
    private readonly request: AcquireRequest,
    private readonly connection: RedisConnection,
    private readonly pushes: LockPushes,
  ) {}

  noteQueued(serverMs: number): void {
    this.sinceUs ||= Math.round(serverMs * 1_000);
  }

  /** Only a call that may have to wait, and can be heard of, asks for a place; its pushes go to `listener`. */
  next(giveUpAt: number, listener: PushListener): AcquireItem {
    const { connection } = this;
    const { token, ttlMs } = this.request;
    const boundMs = Math.min(connection.serverTimeBoundMs(), connection.commandTimeoutMs);
    const serverMs = connection.serverTimeMs() + boundMs;
    this.notAfterMs = inSteps(serverMs + connection.commandTimeoutMs);
    return {
      lock: this.lock,
      token,
      ttlMs,
      notAfterMs: this.notAfterMs,
      wish: this.text(serverMs, giveUpAt, listener),
    };
  }

  /** As `acquire.lua` reads it. */
  private text(serverMs: number, giveUpAt: number, listener: PushListener): string {
    const { capacity, fairness, waitMs, token } = this.request;
    const { pushes } = this;
    const mayWait = waitMs > 0 && pushes.isOpen;
    if (capacity === 1 && fairness === 'fifo' && !mayWait) return '';
    const kind = `${Number.isFinite(capacity) ? capacity : 0},${fairness === 'fifo' ? 'f' : 'b'},${this.sinceUs}`;
    if (!mayWait) return `${kind},,`;
    if (!this.isQueued) {
      this.isQueued = true;
      this.giveUpServerMs = inSteps(serverMs + giveUpAt - monotonicMs());
      pushes.listen(token, listener);
    }
    return `${kind},${pushes.process},${this.giveUpServerMs}`;
  }
}

/** Rounded up, so that the requests of a tick have the same and travel together. */
export function inSteps(serverMs: number): number {
  return Math.ceil(serverMs / STEP_MS) * STEP_MS;
}
