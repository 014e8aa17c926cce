import { monotonicMs, ServerClock } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';

const PRECISION_MS = 1_000;

/** The store's time without a question each time: nodes whose own clocks are wrong judge a timestamp alike. */
@Injectable()
export class StoreClock {
  private readonly clock = new ServerClock();

  constructor(@Inject(NOTIFICATION_STORE) private readonly store: NotificationStore) {}

  /** Wrong by a second at most, unless the store is that slow to answer, or its clock was set. @throws StoreUnavailableError */
  async nowMs(): Promise<number> {
    return this.clock.errorBoundMs() > PRECISION_MS ? this.askedMs() : this.clock.nowMs();
  }

  /** Asks whatever is known: the store's clock may have been set, or this machine suspended. @throws StoreUnavailableError */
  async askedMs(): Promise<number> {
    const sentAt = monotonicMs();
    const serverMs = await this.store.operations.clockMs();
    this.clock.sample(serverMs, sentAt, monotonicMs());
    return this.clock.nowMs();
  }
}
