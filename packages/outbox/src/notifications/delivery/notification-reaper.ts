import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';

const EVERY_MS = 600_000;
const BATCH = 1_000;

/** Forgets what is older than its retention: finished notifications, received webhooks, endpoints nobody registered. */
@Injectable()
export class NotificationReaper implements OnApplicationBootstrap {
  private readonly task: PeriodicTask;

  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(DrainService) drains: DrainService,
    @Inject(Incidents) incidents: Incidents,
  ) {
    this.task = new PeriodicTask({
      name: 'notification purge',
      everyMs: EVERY_MS,
      run: () => this.purge(),
      onError: (cause) =>
        incidents.report({
          code: 'NOTIFICATION_PURGE_FAILED',
          source: 'notifications.purge',
          message: 'the tables grow until a later purge succeeds',
          cause,
        }),
    });
    drains.register({ name: 'notification purge', phase: 'intake', drain: () => this.task.stop() });
  }

  onApplicationBootstrap(): void {
    if (this.options.runWorker) this.task.start();
  }

  private async purge(): Promise<'again' | undefined> {
    const { retentionMs, receiptRetentionMs } = this.options;
    const purged = [
      await this.store.operations.purge(retentionMs),
      await this.store.receipts.purge(receiptRetentionMs),
      await this.store.endpoints.purge(retentionMs),
    ];
    return purged.some((rows) => rows >= BATCH) ? 'again' : undefined;
  }
}
