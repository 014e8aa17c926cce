import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { EndpointVerdicts } from './delivery/endpoint-verdicts.js';
import type { NotificationEndpoint } from './notification.js';
import { type EndpointRecord, NOTIFICATION_STORE, type NotificationStore } from './notification-store.js';
import { EndpointBusyError, EndpointExistsError, EndpointUnknownError } from './notifications.errors.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from './notifications.options.js';
import { checkedSecret, newWebhookSecret } from './signing/webhook-secret.js';
import { checkedTarget } from './target/webhook-target.js';

export interface RegisterOptions {
  /** Letters, digits, `.`, `_` and `-`, at most 100. */
  readonly id: string;
  readonly url: string;
  /** `whsec_…`. @default a new one */
  readonly secret?: string;
}

export interface RotateOptions {
  /** The new secret. @default a new one */
  readonly secret?: string;
  /** For how long the old ones sign beside it. 0 ends them at once. @default '24h' */
  readonly keepOldFor?: Duration;
}

export interface ListOptions {
  /** Only endpoints behind this one, in the order of the ids. */
  readonly after?: string;
  /** 1 to 1000. @default 100 */
  readonly limit?: number;
}

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const MAX_SECRETS = 5;
const TRIES = 5;
const MONTH_MS = 30 * 86_400_000;

/**
 * The receivers that are known by an id.
 *
 * ```
 * register --> enabled --410, failures for disableAfter, disable--> disabled --enable--> enabled
 * enabled | disabled --remove--> forgotten
 * ```
 * What is sent to a disabled endpoint is cancelled and can be replayed. Secrets are given out once, when they are made.
 */
@Injectable()
export class NotificationEndpoints {
  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(EndpointVerdicts) private readonly verdicts: EndpointVerdicts,
  ) {}

  /**
   * @returns the secret, to be handed to the receiver
   * @throws EndpointExistsError; TargetForbiddenError; ConfigurationError on a wrong id or secret
   */
  async register({ id, url, secret = newWebhookSecret() }: RegisterOptions): Promise<{ readonly secret: string }> {
    if (typeof id !== 'string' || !ID.test(id)) {
      throw ConfigurationError.option(
        'id',
        id,
        '1 to 100 letters, digits, dots, _ and -, beginning with a letter or digit',
      );
    }
    const { href } = checkedTarget(url, this.options.targets);
    const secrets = [{ secret: checkedSecret(secret, 'secret'), until: undefined }];
    if (await this.store.endpoints.write({ id, url: href, secrets, version: 0 })) return { secret };
    throw new EndpointExistsError(id);
  }

  /** Sends what is still pending there too. @throws EndpointUnknownError, TargetForbiddenError, EndpointBusyError */
  async update(id: string, { url }: { readonly url: string }): Promise<void> {
    const { href } = checkedTarget(url, this.options.targets);
    await this.change(id, (endpoint) => ({ ...endpoint, url: href }));
  }

  /**
   * Makes another secret the one to sign with. The old ones sign beside it for a while, so that the receiver can change
   * over at any moment; at most 5 altogether, the oldest fall out.
   *
   * @returns the new secret
   * @throws EndpointUnknownError, EndpointBusyError; ConfigurationError on a wrong secret
   */
  async rotateSecret(
    id: string,
    { secret = newWebhookSecret(), keepOldFor = '24h' }: RotateOptions = {},
  ): Promise<{ readonly secret: string }> {
    checkedSecret(secret, 'secret');
    const keepMs = durationMs(keepOldFor, 'keepOldFor', { maxMs: MONTH_MS });
    const nowMs = await this.store.operations.clockMs();
    await this.change(id, (endpoint) => {
      const old = endpoint.secrets
        .map((each) => ({
          secret: each.secret,
          until: Math.min(each.until ?? Number.POSITIVE_INFINITY, nowMs + keepMs),
        }))
        .filter(({ until, secret: text }) => until > nowMs && text !== secret);
      return { ...endpoint, secrets: [{ secret, until: undefined }, ...old].slice(0, MAX_SECRETS) };
    });
    return { secret };
  }

  /** Forgets that it failed; nothing is replayed by itself. @throws EndpointUnknownError */
  async enable(id: string): Promise<void> {
    if (!(await this.store.endpoints.enable(id))) throw new EndpointUnknownError(id);
  }

  /** Cancels what is pending; what is being sent right now may still arrive. @throws EndpointUnknownError */
  async disable(id: string): Promise<void> {
    if (!(await this.store.endpoints.disable(id, 'disabled by hand'))) throw new EndpointUnknownError(id);
    await this.verdicts.cancelPending(id);
  }

  /**
   * Disables it, cancels what is pending, and forgets it with its secrets; its notifications stay for `retention`. What is
   * committed later by a transaction that sent it before fails, attempt by attempt, unless the id is registered anew.
   *
   * @throws EndpointUnknownError; EndpointBusyError while something is being sent there: it is disabled, try again
   */
  async remove(id: string): Promise<void> {
    const endpoint = await this.store.endpoints.find(id);
    if (!endpoint || endpoint.version <= 0) throw new EndpointUnknownError(id);
    await this.disable(id);
    if (!(await this.store.endpoints.remove(id))) throw new EndpointBusyError(id);
  }

  async find(id: string): Promise<NotificationEndpoint | undefined> {
    const record = await this.store.endpoints.find(id);
    return record && shown(record);
  }

  async list({ after, limit = 100 }: ListOptions = {}): Promise<readonly NotificationEndpoint[]> {
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
      throw ConfigurationError.option('limit', limit, 'a whole number from 1 to 1000');
    }
    return (await this.store.endpoints.list(after, limit)).map(shown);
  }

  private async change(id: string, change: (endpoint: EndpointRecord) => EndpointRecord): Promise<void> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const endpoint = await this.store.endpoints.find(id);
      if (!endpoint || endpoint.version <= 0) throw new EndpointUnknownError(id);
      if (await this.store.endpoints.write(change(endpoint))) return;
    }
    throw new EndpointBusyError(id);
  }
}

function shown({ id, url, secrets, disabledAt, disabledReason, failingSince }: EndpointRecord): NotificationEndpoint {
  return { id, url, secrets: secrets.map(({ until }) => ({ until })), disabledAt, disabledReason, failingSince };
}
