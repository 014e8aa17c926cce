import { setMaxListeners } from 'node:events';
import { type Incidents, monotonicMs } from '@lockstep/core';
import { GrowingPause } from './growing-pause.js';
import type { BeginOutcome, BeginRequest, IdempotencyStore } from './idempotency-store.js';
import { isPushing } from './store-abilities.js';

/** What the store said, and from when on what it promised counts. */
export interface Asked<Answer extends BeginOutcome = BeginOutcome> {
  readonly answer: Answer;
  /** Monotonic milliseconds. */
  readonly sentAt: number;
}

type Busy = Extract<BeginOutcome, { readonly outcome: 'busy' }>;

/**
 * Waits for whoever is at an operation, at most a given time.
 *
 * ```
 * busy --watch--> asked again, announced --busy--> resting --heard | lease over--> asked again
 *                                        --anything else--> done
 * resting --time over | caller gone | process ends--> busy
 * ```
 * A store that pushes is asked again when it says so or when the lease is over; any other, and one whose pushes cannot be
 * had just now, at growing pauses.
 */
export class Waiting {
  private readonly closing = new AbortController();

  constructor(
    private readonly store: IdempotencyStore,
    private readonly ask: (request: BeginRequest) => Promise<Asked>,
    private readonly incidents: Incidents,
  ) {
    // All who wait listen to it, however many: that is no leak.
    setMaxListeners(0, this.closing.signal);
  }

  /** The last word on the request: `busy` when the wait was over. */
  async for(request: BeginRequest, busy: Asked<Busy>, waitMs: number, signal?: AbortSignal): Promise<Asked> {
    const wait = new Wait(monotonicMs() + waitMs, signal ? [signal, this.closing.signal] : [this.closing.signal]);
    const leave = await this.watch(request, wait);
    try {
      return await this.untilDecided({ ...request, isWaiting: leave !== undefined }, busy, wait);
    } finally {
      wait.end();
      await leave?.();
    }
  }

  /** Ends all waits: those who wait are told that somebody is at it. */
  close(): void {
    this.closing.abort();
  }

  private async watch({ id, operation }: BeginRequest, wait: Wait): Promise<(() => Promise<void>) | undefined> {
    const { store } = this;
    if (!isPushing(store)) return undefined;
    try {
      return await store.watch(id, () => wait.wake());
    } catch (cause) {
      const message = `who waits for ${operation} cannot hear of its end, and asks again and again`;
      this.incidents.report({ code: 'WAIT_NOT_PUSHED', source: 'idempotency.wait', message, cause });
      return undefined;
    }
  }

  private async untilDecided(request: BeginRequest, busy: Asked<Busy>, wait: Wait): Promise<Asked> {
    const pause = new GrowingPause();
    // What changed before the watch began was not heard, and the record does not know yet that somebody waits.
    let last: Asked = request.isWaiting ? await this.ask(request) : busy;
    while (last.answer.outcome === 'busy') {
      const leaseMs = last.answer.retryAfterMs;
      if (!(await wait.rest(request.isWaiting ? leaseMs : Math.min(pause.next(), leaseMs)))) return last;
      last = await this.ask(request);
    }
    return last;
  }
}

/** One who waits: rests until it is woken, its time is over, or it is not wanted any more. */
class Wait {
  private isHeard = false;
  private isOver = false;
  private continue: (() => void) | undefined;
  private readonly stop = (): void => {
    this.isOver = true;
    this.continue?.();
  };

  constructor(
    private readonly until: number,
    private readonly signals: readonly AbortSignal[],
  ) {
    for (const signal of signals) {
      if (signal.aborted) this.isOver = true;
      signal.addEventListener('abort', this.stop);
    }
  }

  wake(): void {
    this.isHeard = true;
    this.continue?.();
  }

  /** Whether it is worth asking again. What was heard since the last rest counts. */
  async rest(ms: number): Promise<boolean> {
    const leftMs = this.until - monotonicMs();
    if (leftMs <= 0 || this.isOver) return false;
    if (!this.isHeard) await this.sleep(Math.min(ms, leftMs));
    this.isHeard = false;
    return !this.isOver;
  }

  end(): void {
    for (const signal of this.signals) signal.removeEventListener('abort', this.stop);
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.continue?.(), Math.max(1, Math.ceil(ms)));
      this.continue = () => {
        clearTimeout(timer);
        this.continue = undefined;
        resolve();
      };
    });
  }
}
