export { BestEffortNotify, type BestEffortNotifyOptions } from './best-effort-notify.decorator.js';
export { MemoryNotificationStore, memoryNotificationStore } from './drivers/memory/memory-notification-store.js';
export type {
  Attempt,
  EndpointSecretInfo,
  NotificationEndpoint,
  NotificationState,
  NotificationStatus,
} from './notification.js';
export {
  type ListOptions,
  NotificationEndpoints,
  type RegisterOptions,
  type RotateOptions,
} from './notification-endpoints.service.js';
export {
  type AppendOutcome,
  type ClaimedNotification,
  type ClaimRequest,
  type EndpointFailure,
  type EndpointRecord,
  type EndpointSecret,
  type EndpointSeen,
  type EndpointStore,
  type Lane,
  NOTIFICATION_STORE,
  type NotificationFacts,
  type NotificationOperations,
  type NotificationRecord,
  type NotificationSettlement,
  type NotificationStore,
  type ReceiptStore,
  type ReplayRequest,
} from './notification-store.js';
export {
  EndpointBusyError,
  EndpointExistsError,
  EndpointUnknownError,
  NotificationConflictError,
  NotificationInvalidError,
  ReplayRefusedError,
  TargetForbiddenError,
  WebhookBusyError,
  WebhookUnverifiedError,
} from './notifications.errors.js';
export { NotificationsModule } from './notifications.module.js';
export type { NotificationsModuleExtras } from './notifications.module-definition.js';
export type { NotificationsModuleOptions, TargetOptions } from './notifications.options.js';
export {
  NotificationsService,
  type NotificationTarget,
  type ReplayOptions,
  type SendOptions,
} from './notifications.service.js';
export type { NotificationAnswer } from './query/notification-queries.service.js';
export { WebhookReceiver } from './receiver/webhook-receiver.decorator.js';
export type { WebhookHttpRequest, WebhookReceiverOptions, WebhookSender } from './receiver/webhook-receiver.options.js';
export { newWebhookSecret } from './signing/webhook-secret.js';
export { type HeaderBag, type SignedParts, signedHeaders } from './signing/webhook-signature.js';
export type { HostResolver, ResolvedAddress } from './target/guarded-lookup.js';
