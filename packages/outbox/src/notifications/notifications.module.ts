import { CoreModule } from '@lockstep/core';
import { Module } from '@nestjs/common';
import { DeliveryAttempt } from './delivery/delivery-attempt.js';
import { DeliverySettlement } from './delivery/delivery-settlement.js';
import { DeliveryWakeUp } from './delivery/delivery-wake-up.js';
import { DeliveryWorker } from './delivery/delivery-worker.js';
import { EndpointVerdicts } from './delivery/endpoint-verdicts.js';
import { NotificationReaper } from './delivery/notification-reaper.js';
import { NotificationEndpoints } from './notification-endpoints.service.js';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './notifications.module-definition.js';
import { NOTIFICATIONS_OPTIONS, resolveNotificationsOptions } from './notifications.options.js';
import { NotificationsService } from './notifications.service.js';
import { NotificationQueries } from './query/notification-queries.service.js';
import { StoreClock } from './receiver/store-clock.js';
import { WebhookReceivers } from './receiver/webhook-receivers.service.js';

/**
 * Best-effort notification of partners, and receiving theirs: `NotificationsModule.forRoot({ store })`. Global; needs
 * `SqlModule`.
 */
@Module({
  imports: [CoreModule],
  providers: [
    { provide: NOTIFICATIONS_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveNotificationsOptions },
    DeliveryAttempt,
    DeliverySettlement,
    DeliveryWakeUp,
    DeliveryWorker,
    EndpointVerdicts,
    NotificationEndpoints,
    NotificationQueries,
    NotificationReaper,
    NotificationsService,
    StoreClock,
    WebhookReceivers,
  ],
  exports: [NotificationsService, NotificationEndpoints, WebhookReceivers],
})
export class NotificationsModule extends ConfigurableModuleClass {}
