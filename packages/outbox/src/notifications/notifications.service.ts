import { createHash } from 'node:crypto';
import { ConfigurationError, checkpoint, count, isLockstepError, messageOfThrown } from '@lockstep/core';
import { Sql, type SqlTransaction } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { checkedTransaction } from '../checked-transaction.js';
import { encodeBody } from '../message-body.js';
import { AttemptSchedule } from './delivery/attempt-schedule.js';
import { DeliveryWakeUp } from './delivery/delivery-wake-up.js';
import { EVENT_TYPE_RULE, isEventType } from './event-type.js';
import type { NotificationState, NotificationStatus } from './notification.js';
import { NOTIFICATION_STORE, type NotificationFacts, type NotificationStore } from './notification-store.js';
import {
  EndpointUnknownError,
  NotificationConflictError,
  NotificationInvalidError,
  ReplayRefusedError,
  TargetForbiddenError,
} from './notifications.errors.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from './notifications.options.js';
import { isWebhookId } from './signing/webhook-signature.js';
import { checkedTarget } from './target/webhook-target.js';

/** Where a notification goes: to a registered endpoint by its id, or to a URL, signed with the module's own secrets. */
export type NotificationTarget =
  | { readonly endpoint: string; readonly url?: undefined }
  | { readonly url: string; readonly endpoint?: undefined };

export type SendOptions = NotificationTarget & {
  /** What happened, as the receiver tells events apart: `order.shipped`. Letters, digits and `. _ - / :`, at most 128. */
  readonly type: string;
  /** What the receiver is told of it; JSON. */
  readonly data: unknown;
  /**
   * What the receiver knows it by, and tells copies by. Visible ASCII without a dot, at most 100 characters. An id that
   * was sent before, for the same thing, is not sent again. @default a new UUID
   */
  readonly id?: string;
  /** The transaction to join. @default the current one */
  readonly tx?: SqlTransaction;
};

export interface ReplayOptions {
  readonly endpoint: string;
  /** By the time when they were sent. The lower end belongs to the range, the upper one does not. */
  readonly from: Date;
  readonly to: Date;
  /** @default ['exhausted', 'cancelled'] */
  readonly states?: readonly Exclude<NotificationState, 'pending'>[];
}

const MAX_ID_CHARS = 100;
const REPLAY_BATCH = 1_000;
const FINISHED: readonly unknown[] = ['delivered', 'exhausted', 'cancelled'];

/**
 * Tells partners what happened, as best it can: the notification is part of the caller's transaction, and from its commit
 * on it is sent until the receiver says yes, wants nothing more, or the schedule is at its end.
 *
 * ```
 * send --commit--> pending --2xx--> delivered
 *                     |  '--the last attempt failed--> exhausted --replay--> pending
 *                     '--410, or the endpoint is disabled--> cancelled --replay--> pending
 * ```
 * At least once: who receives it tells copies by `webhook-id`, which never changes.
 */
@Injectable()
export class NotificationsService {
  private readonly schedule: AttemptSchedule;

  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(DeliveryWakeUp) private readonly wakeUp: DeliveryWakeUp,
  ) {
    this.schedule = new AttemptSchedule(options.scheduleMs, options.jitter);
  }

  /**
   * Sends one notification in `tx`, else in the current transaction: it exists exactly when that commits. What is posted is
   * `{"type", "timestamp", "data"}` of Standard Webhooks.
   *
   * @returns the id, which the receiver gets as `webhook-id`
   * @throws TransactionRequiredError when there is no transaction: it never sends without one
   * @throws NotificationInvalidError when type, id, data or URL are not allowed, or it is too large
   * @throws EndpointUnknownError when no such endpoint is registered
   * @throws NotificationConflictError when the id was used for something else
   */
  async send(options: SendOptions): Promise<string> {
    const tx =
      options.tx === undefined ? this.requireTransaction('notifications.send') : checkedTransaction(options.tx);
    const { endpoint, url } = this.target(options);
    const id = options.id === undefined ? uuidv7() : checkedId(options);
    const body = this.body(options);
    const delayMs = this.schedule.pauseBefore(1) ?? 0;
    const outcome = await this.store.append(tx, { id, endpoint, url, type: options.type, body, delayMs });
    if (outcome === 'unknown-endpoint') throw new EndpointUnknownError(endpoint);
    if (outcome === 'conflict') throw new NotificationConflictError(id);
    if (outcome === 'duplicate') return id;
    checkpoint('notifications.appended', { id });
    count('lockstep.notifications.sent');
    tx.afterCommit?.(() => this.wakeUp.wake(endpoint));
    return id;
  }

  /** How a notification stands. Undefined when there is none of this id, or it is longer finished than `retention`. */
  find(id: string): Promise<NotificationStatus | undefined> {
    return isWebhookId(id) ? this.store.operations.find(id) : Promise.resolve(undefined);
  }

  /**
   * Sends again what was finished without success, or whatever `states` names: same id, same body, a new schedule. What is
   * delivered meanwhile is not replayed a second time.
   *
   * @returns how many
   * @throws EndpointUnknownError; ReplayRefusedError while the endpoint is disabled; when it is disabled meanwhile, the rest is left
   */
  async replay({ endpoint, from, to, states = ['exhausted', 'cancelled'] }: ReplayOptions): Promise<number> {
    if (states.length === 0 || states.some((state) => !FINISHED.includes(state))) {
      throw ConfigurationError.option('states', states, `some of ${FINISHED.join(', ')}`);
    }
    const finishedBefore = (await this.store.operations.clockMs()) + 1;
    const range = { endpoint, from: checkedTime(from, 'from'), to: checkedTime(to, 'to'), states, finishedBefore };
    let total = 0;
    for (;;) {
      const found = await this.store.endpoints.find(endpoint);
      if (!found && !endpoint.startsWith(URL_PREFIX)) throw new EndpointUnknownError(endpoint);
      if (found?.disabledAt !== undefined) throw new ReplayRefusedError(endpoint);
      const replayed = await this.store.operations.replay({ ...range, limit: REPLAY_BATCH });
      total += replayed;
      if (replayed > 0) this.wakeUp.wake(endpoint);
      if (replayed < REPLAY_BATCH) return total;
    }
  }

  /** What an alarm looks at; the age first. Costs the same however long the backlog is. */
  facts(): Promise<NotificationFacts> {
    return this.store.operations.facts();
  }

  /** @throws TransactionRequiredError */
  requireTransaction(purpose: string): SqlTransaction {
    return this.sql.requireCurrent(purpose);
  }

  private target({ endpoint, url, type }: SendOptions): {
    readonly endpoint: string;
    readonly url: string | undefined;
  } {
    if ((endpoint === undefined) === (url === undefined)) {
      throw new NotificationInvalidError(type, 'it needs either an endpoint or a url');
    }
    if (endpoint !== undefined) {
      if (typeof endpoint === 'string' && !endpoint.startsWith(URL_PREFIX)) return { endpoint, url: undefined };
      throw new NotificationInvalidError(type, 'its endpoint is no id of an endpoint');
    }
    if (this.options.secrets.length === 0) {
      throw new NotificationInvalidError(type, "a url needs the option 'secrets' to be signed with");
    }
    try {
      const { href } = checkedTarget(url, this.options.targets);
      return { endpoint: endpointOfUrl(href), url: href };
    } catch (cause) {
      if (!(cause instanceof TargetForbiddenError)) throw cause;
      throw new NotificationInvalidError(type, cause.message, cause);
    }
  }

  private body({ type, data }: SendOptions): string {
    if (!isEventType(type)) {
      throw new NotificationInvalidError(type, `its type is not ${EVENT_TYPE_RULE}`);
    }
    const timestamp = new Date().toISOString();
    const body = bodyText(type, { type, timestamp, data });
    const bytes = Buffer.byteLength(body);
    if (bytes <= this.options.maxBodyBytes) return body;
    throw new NotificationInvalidError(type, `it has ${bytes} bytes; maxBodyBytes is ${this.options.maxBodyBytes}`);
  }
}

/** Endpoints that stand for a URL begin so, and no registered one does. */
export const URL_PREFIX = 'url:';

function endpointOfUrl(href: string): string {
  return URL_PREFIX + createHash('sha256').update(href).digest('hex').slice(0, 40);
}

function bodyText(type: string, event: Readonly<Record<'type' | 'timestamp' | 'data', unknown>>): string {
  if (event.data === undefined) throw new NotificationInvalidError(type, 'its data is undefined');
  try {
    return encodeBody(type, event);
  } catch (cause) {
    if (isLockstepError(cause)) throw new NotificationInvalidError(type, messageOfThrown(cause.cause ?? cause), cause);
    throw cause;
  }
}

function checkedId({ id, type }: SendOptions): string {
  if (isWebhookId(id) && id.length <= MAX_ID_CHARS) return id;
  throw new NotificationInvalidError(type, `its id is not 1 to ${MAX_ID_CHARS} visible ASCII characters without a dot`);
}

function checkedTime(time: Date, option: string): number {
  const ms = time instanceof Date ? time.getTime() : Number.NaN;
  if (Number.isNaN(ms)) throw ConfigurationError.option(option, time, 'a Date');
  return ms;
}
