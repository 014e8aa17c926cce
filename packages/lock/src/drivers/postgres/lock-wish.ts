import { monotonicMs } from '@lockstep/core';
import { LockModeError } from '../../lock.errors.js';
import type { AcquireRequest, Busy } from '../../lock-store.js';

/** Nothing is known of the time that the other one needs: its lock ends with its session. */
export const BUSY: Busy = Object.freeze({ status: 'busy', remainingMs: 0 });

/** One request, as long as it is open: asked for → granted | busy | given up. */
export class LockWish {
  readonly isShared: boolean;
  isGivenUp = false;
  /** What to do at once about a request that is given up while it waits. */
  onGiveUp: () => void = () => undefined;
  private readonly giveUpAt: number;

  /** @throws LockModeError for a number of permits */
  constructor(
    readonly key: bigint,
    readonly request: AcquireRequest,
  ) {
    const { capacity, waitMs } = request;
    if (capacity !== 1 && capacity !== Number.POSITIVE_INFINITY) {
      throw new LockModeError(request.key, 'postgres', `one of ${capacity} permits`);
    }
    this.isShared = capacity !== 1;
    this.giveUpAt = monotonicMs() + waitMs;
  }

  get leftMs(): number {
    return Math.max(this.giveUpAt - monotonicMs(), 0);
  }

  get isOver(): boolean {
    return this.isGivenUp || this.leftMs === 0;
  }

  giveUp(): void {
    if (this.isGivenUp) return;
    this.isGivenUp = true;
    this.onGiveUp();
  }
}
