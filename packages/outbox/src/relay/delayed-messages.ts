import { checkpoint, monotonicMs, PeriodicTask } from '@lockstep/core';
import type { OutboxStore } from '../outbox-store.js';
import { Patience } from './patience.js';

/** Pause where something is due and somebody else is just moving it. */
const SHORTEST_PAUSE_MS = 5;

export interface DelayedMessagesInit {
  readonly store: Pick<OutboxStore, 'promote'>;
  readonly batchSize: number;
  readonly sweepEveryMs: number;
  /** Something was put into the outbox. */
  onPromoted(): void;
  onError(cause: unknown): void;
}

/**
 * Puts what has a delay into the outbox once it is due on the store's clock. Any number may run at a time, anywhere.
 *
 * ```
 * waiting --timer for the next that is due | sweep--> promoting --there may be more--> promoting
 *                                                               --no more--> waiting, with the timer set
 * waiting --expect, earlier than the timer--> waiting, with the timer set to that
 * ```
 */
export class DelayedMessages {
  readonly task: PeriodicTask;
  private readonly patience = new Patience();
  private timer: NodeJS.Timeout | undefined;
  private wakesAtMs = Number.POSITIVE_INFINITY;

  constructor(private readonly init: DelayedMessagesInit) {
    this.task = new PeriodicTask({
      name: 'outbox delay',
      everyMs: init.sweepEveryMs,
      run: () => this.promote(),
      onError: (cause) => init.onError(cause),
    });
  }

  /** Something is due in so many milliseconds, or earlier. */
  expect(inMs: number): void {
    const atMs = monotonicMs() + inMs;
    // The sweep looks before this is due, and sets the timer then.
    if (inMs > 2 * this.init.sweepEveryMs || atMs >= this.wakesAtMs) return;
    this.disarm();
    this.wakesAtMs = atMs;
    this.timer = setTimeout(() => {
      this.disarm();
      this.task.wake();
    }, Math.ceil(inMs)).unref();
  }

  async stop(): Promise<void> {
    await this.task.stop();
    this.disarm();
  }

  private async promote(): Promise<'again' | undefined> {
    const { store, batchSize } = this.init;
    const { promoted, nextDueInMs } = await this.patience.with((patient) => store.promote(batchSize, patient));
    if (promoted > 0) {
      checkpoint('outbox.promoted', { messages: promoted });
      this.init.onPromoted();
    }
    if (promoted >= batchSize) return 'again';
    if (nextDueInMs !== undefined) this.expect(Math.max(nextDueInMs, SHORTEST_PAUSE_MS));
    return undefined;
  }

  private disarm(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.wakesAtMs = Number.POSITIVE_INFINITY;
  }
}
