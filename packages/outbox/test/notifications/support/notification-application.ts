import { type Incident, Incidents, LockstepModule, RETRY_SCHEDULER, type RetryScheduler } from '@lockstep/core';
import {
  NotificationEndpoints,
  NotificationsModule,
  type NotificationsModuleExtras,
  type NotificationsModuleOptions,
  NotificationsService,
} from '@lockstep/outbox/notifications';
import { Sql, SqlModule } from '@lockstep/sql';
import type { DynamicModule, ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { serverOf } from './notification-servers.js';

export interface NotificationApplication {
  readonly app: TestingModule;
  readonly sql: Sql;
  readonly notifications: NotificationsService;
  readonly endpoints: NotificationEndpoints;
  /** All so far. */
  readonly incidents: readonly Incident[];
}

export interface NotificationApplicationOptions extends NotificationsModuleOptions, Partial<NotificationsModuleExtras> {
  readonly url: string;
  readonly providers?: ModuleMetadata['providers'];
  readonly scheduler?: RetryScheduler;
}

/** Partners of the tests live on this machine. */
export const LOCAL_TARGETS = { allowHttp: true, ports: 'any', allow: ['127.0.0.1'] } as const;

function schedulerModule(scheduler: RetryScheduler): DynamicModule {
  class SchedulerModule {}
  const providers = [{ provide: RETRY_SCHEDULER, useValue: scheduler }];
  return { module: SchedulerModule, global: true, providers, exports: [RETRY_SCHEDULER] };
}

/** A Nest application with notifications in the database at `url`, and short pauses. */
export async function startNotifications(options: NotificationApplicationOptions): Promise<NotificationApplication> {
  const { url, providers = [], scheduler, ...rest } = options;
  const app = await Test.createTestingModule({
    imports: [
      ...(scheduler ? [schedulerModule(scheduler)] : []),
      LockstepModule.forRoot({ drainTimeout: '1s' }),
      SqlModule.forRoot({ driver: serverOf(url).driver(url, 8), commandTimeout: '5s' }),
      NotificationsModule.forRoot({
        store: serverOf(url).store(),
        sweepEvery: 50,
        // Nothing is late by itself, on a busy machine either: what is about lateness sets its own.
        timeout: 5_000,
        leaseTtl: 10_000,
        schedule: [0, 30, 30],
        throttlePause: 10,
        targets: LOCAL_TARGETS,
        ...rest,
      }),
    ],
    providers,
  }).compile();
  app.useLogger(false);
  const incidents: Incident[] = [];
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  await app.init();
  return {
    app,
    sql: app.get(Sql),
    notifications: app.get(NotificationsService),
    endpoints: app.get(NotificationEndpoints),
    incidents,
  };
}
