import { Incidents, RETRY_SCHEDULER, type RetryScheduler, type WakeUpSubscription } from '@lockstep/core';
import { Inject, Injectable, Optional } from '@nestjs/common';

const QUEUE = 'notifications.deliver';

/**
 * Wakes the worker: at once for a commit in this process, and through the scheduler of the application, where it has one,
 * in other processes too. A hint: the sweep finds what no hint told of.
 */
@Injectable()
export class DeliveryWakeUp {
  private listener: (() => void) | undefined;

  constructor(
    @Inject(Incidents) private readonly incidents: Incidents,
    @Optional() @Inject(RETRY_SCHEDULER) private readonly scheduler?: RetryScheduler,
  ) {}

  /** Returns what ends it. */
  async listen(listener: () => void): Promise<WakeUpSubscription> {
    this.listener = listener;
    const remote = await this.scheduler?.handle(QUEUE, async () => listener());
    return {
      close: async (signal) => {
        this.listener = undefined;
        await remote?.close(signal);
      },
    };
  }

  /** There is something for this endpoint now. */
  wake(endpoint: string): void {
    if (this.listener) this.listener();
    else this.at(endpoint, 0);
  }

  /** There will be something for this endpoint. @param dueAt epoch milliseconds */
  at(endpoint: string, dueAt: number): void {
    // A later one of the same id would take the place of this one; within the same second it may.
    const id = `${endpoint}@${Math.floor(dueAt / 1_000)}`;
    this.scheduler?.schedule({ queue: QUEUE, id, dueAt }).catch((cause: unknown) =>
      this.incidents.report({
        code: 'NOTIFICATION_WAKE_UP_FAILED',
        source: 'notifications.delivery',
        message: 'the sweep finds the notification later',
        cause,
      }),
    );
  }
}
