import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { MESSAGE_TRANSPORT, type MessageTransport, type TransportSubscription } from './message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from './outbox.options.js';

/**
 * Starts what needs a server that may be down when the application starts, and ends it in order: the relay stops taking
 * first, then the consumers finish, at last the transport closes.
 */
@Injectable()
export class OutboxLifecycle {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(MESSAGE_TRANSPORT) transport: MessageTransport,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    drains.register({ name: 'message transport', phase: 'connections', drain: () => transport.close() });
  }

  /** Subscribes, as often as it takes, and closes the subscription when the application drains. */
  consume(name: string, subscribe: () => Promise<TransportSubscription>): void {
    let subscription: TransportSubscription | undefined;
    const task = this.untilDone(name, async () => {
      subscription = await subscribe();
    });
    this.drains.register({
      name,
      phase: 'work',
      drain: async (signal) => {
        await task.stop();
        await subscription?.close(signal);
      },
    });
  }

  /** Repeats `step` until it has succeeded once. */
  prepare(name: string, step: () => Promise<void>): void {
    const task = this.untilDone(name, step);
    this.drains.register({ name, phase: 'intake', drain: () => task.stop() });
  }

  private untilDone(name: string, step: () => Promise<void>): PeriodicTask {
    let done = false;
    const task = new PeriodicTask({
      name,
      everyMs: this.options.sweepEveryMs,
      run: async () => {
        if (done) return undefined;
        await step();
        done = true;
        return undefined;
      },
      onError: (cause) =>
        this.incidents.report({
          code: 'OUTBOX_START_DELAYED',
          source: 'outbox.start',
          message: `${name}: cannot start yet`,
          cause,
        }),
    });
    task.start();
    return task;
  }
}
