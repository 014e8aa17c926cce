import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { ConfigurationError, checkpoint, count, type MethodCall, withSpan } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';
import { WebhookBusyError, WebhookUnverifiedError } from '../notifications.errors.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';
import { isSignedBy, isTimely, type SignatureClaim, signatureClaim } from '../signing/webhook-signature.js';
import { rawBodyOf } from './raw-body.js';
import { StoreClock } from './store-clock.js';
import type { Receiver } from './webhook-receiver.options.js';

/** A webhook whose signature was verified. */
export interface VerifiedWebhook {
  readonly receiver: Receiver;
  readonly idHash: string;
}

/**
 * Verifies webhooks and lets each take effect once:
 *
 * ```
 * request --guard: signature, time--> verified --interceptor--> pipes --> handler, in one transaction with the receipt
 *    '--> 401                                                       '--> a copy: the handler does not run
 * ```
 */
@Injectable()
export class WebhookReceivers {
  private readonly names = new Map<string, Receiver>();
  private readonly verified = new WeakMap<object, VerifiedWebhook>();
  private readonly current = new AsyncLocalStorage<VerifiedWebhook>();
  private readonly inHand = new Set<string>();

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(StoreClock) private readonly clock: StoreClock,
  ) {}

  /** At boot. @throws ConfigurationError */
  check(receiver: Receiver): void {
    const { name, toleranceMs } = receiver;
    const other = this.names.get(name);
    if (other && other !== receiver)
      throw new ConfigurationError(`Two methods are @WebhookReceiver({ name: '${name}' }).`);
    this.names.set(name, receiver);
    if (this.options.receiptRetentionMs >= 2 * toleranceMs) return;
    throw new ConfigurationError(
      `The tolerance of @WebhookReceiver({ name: '${name}' }) is more than half of receiptRetention: ` +
        'a webhook could be forgotten while its signature is still accepted.',
    );
  }

  /** @throws WebhookUnverifiedError; ConfigurationError when the application does not keep raw bodies */
  async verify(request: { readonly headers: IncomingHttpHeaders }, receiver: Receiver): Promise<void> {
    const claim = signatureClaim(request.headers);
    const body = claim && rawBodyOf(request);
    const sender = body && (await receiver.senderOf(request));
    if (!claim || !sender || !isSignedBy(claim, body, sender.secrets)) throw this.refusal();
    if (!(await this.isTimely(claim, receiver))) throw this.refusal();
    this.verified.set(request, { receiver, idHash: hashOf(sender.sender, claim) });
  }

  /** Runs what handles the request so that {@link handle} knows which webhook it is. */
  within<T>(request: object, fn: () => Promise<T>): Promise<T> {
    const webhook = this.verified.get(request);
    return webhook ? this.current.run(webhook, fn) : fn();
  }

  /**
   * Runs the handler if it is the first to see this webhook. What is answered leaves after the commit.
   *
   * @throws WebhookBusyError while another copy is being handled here; it must not hold a connection and wait
   */
  async handle(receiver: Receiver, call: MethodCall): Promise<unknown> {
    const webhook = this.current.getStore();
    if (!webhook || webhook.receiver !== receiver) {
      throw new ConfigurationError(
        `${call.name} is a @WebhookReceiver: it handles verified requests and nothing else.`,
      );
    }
    const key = `${receiver.name} ${webhook.idHash}`;
    if (this.inHand.has(key)) throw new WebhookBusyError();
    this.inHand.add(key);
    try {
      return await withSpan('lockstep.notifications.receive', { 'lockstep.notification.receiver': receiver.name }, () =>
        this.once(webhook, call),
      );
    } finally {
      this.inHand.delete(key);
    }
  }

  private async once({ receiver, idHash }: VerifiedWebhook, call: MethodCall): Promise<unknown> {
    let isFirst = false;
    const result = await this.sql.transaction(async (tx) => {
      isFirst = await this.store.receipts.receive(tx, receiver.name, idHash);
      if (!isFirst) return undefined;
      const value = await call.proceed();
      checkpoint('notifications.handled', { receiver: receiver.name });
      return value;
    });
    count('lockstep.notifications.received', { outcome: isFirst ? 'handled' : 'duplicate' });
    return result;
  }

  private async isTimely(claim: SignatureClaim, { toleranceMs }: Receiver): Promise<boolean> {
    if (isTimely(claim, await this.clock.nowMs(), toleranceMs)) return true;
    // Only who has a secret comes here, so nobody else makes the store answer.
    return isTimely(claim, await this.clock.askedMs(), toleranceMs);
  }

  private refusal(): WebhookUnverifiedError {
    count('lockstep.notifications.received', { outcome: 'refused' });
    return new WebhookUnverifiedError();
  }
}

function hashOf(sender: string, { id }: SignatureClaim): string {
  return createHash('sha256')
    .update(JSON.stringify([sender, id]))
    .digest('hex');
}
