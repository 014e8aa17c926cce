import { Inject, Injectable } from '@nestjs/common';
import { liveSecrets } from '../delivery/delivery-attempt.js';
import type { NotificationState, NotificationStatus } from '../notification.js';
import { NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';
import { WebhookUnverifiedError } from '../notifications.errors.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';
import { newWebhookSecret } from '../signing/webhook-secret.js';
import { type HeaderBag, isSignedBy, isTimely, signatureClaim } from '../signing/webhook-signature.js';

/** What a partner may know; times as in JSON. Errors stay here, they may name what is inside. */
export interface NotificationAnswer {
  readonly id: string;
  readonly type: string;
  readonly state: NotificationState;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  readonly nextAttemptAt: string | null;
  readonly attempts: readonly { readonly at: string; readonly status: number | null }[];
}

/** No id of an endpoint. */
const NOBODY = '-';

/**
 * Answers a partner who asks for a notification of his own. He proves who he is by the headers of Standard Webhooks, made
 * with the secret of his endpoint over the id he asks for, the time, and an empty body. Whatever is wrong with it (no such
 * notification, somebody else's, another signature, too old) looks the same.
 */
@Injectable()
export class NotificationQueries {
  /** So that an id that does not exist takes as long as one that does. */
  private readonly nobody = [newWebhookSecret()];

  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
  ) {}

  /** @throws WebhookUnverifiedError; StoreUnavailableError */
  async answer(id: string, headers: HeaderBag): Promise<NotificationAnswer> {
    const claim = signatureClaim(headers);
    if (!claim || claim.id !== id) throw new WebhookUnverifiedError();
    const nowMs = await this.store.operations.clockMs();
    if (!isTimely(claim, nowMs, this.options.queryToleranceMs)) throw new WebhookUnverifiedError();
    const status = await this.store.operations.find(id);
    const endpoint = await this.store.endpoints.find(status?.endpoint ?? NOBODY);
    const secrets = liveSecrets(endpoint?.secrets ?? [], nowMs);
    const isSigned = isSignedBy(claim, '', secrets.length === 0 ? this.nobody : secrets);
    if (!status || !isSigned) throw new WebhookUnverifiedError();
    return answerOf(status);
  }
}

function answerOf({ id, type, state, createdAt, finishedAt, dueAt, attempts }: NotificationStatus): NotificationAnswer {
  return {
    id,
    type,
    state,
    createdAt: timeOf(createdAt),
    finishedAt: finishedAt === undefined ? null : timeOf(finishedAt),
    nextAttemptAt: dueAt === undefined ? null : timeOf(dueAt),
    attempts: attempts.map(({ at, status }) => ({ at: timeOf(at), status: status ?? null })),
  };
}

function timeOf(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
