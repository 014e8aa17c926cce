import type { LookupFunction } from 'node:net';
import { checkpoint, describeThrown, Incidents, messageOfThrown, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import type { Attempt } from '../notification.js';
import type { ClaimedNotification, EndpointSecret, Lane } from '../notification-store.js';
import { TargetForbiddenError } from '../notifications.errors.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';
import { signedHeaders } from '../signing/webhook-signature.js';
import { guardedLookup } from '../target/guarded-lookup.js';
import { checkedTarget } from '../target/webhook-target.js';
import { type Answer, judge, type Verdict } from './verdict.js';
import { sendWebhook } from './webhook-sender.js';

const MAX_ERROR_CHARS = 300;
const AGENT = 'Lockstep-Webhooks/1';

/** One that this process has claimed. */
export interface Claimed {
  readonly notification: ClaimedNotification;
  readonly lane: Lane;
  /** Local monotonic time before the claim was sent, so that the lease is thought to end too early, never too late. */
  readonly since: number;
}

export interface AttemptReport {
  readonly verdict: Verdict;
  readonly attempt: Attempt;
}

/** Makes one attempt: checks the target, signs, sends, judges. */
@Injectable()
export class DeliveryAttempt {
  private readonly lookup: LookupFunction;

  constructor(
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    const { resolve, guard } = options.targets;
    this.lookup = guardedLookup(resolve, guard);
  }

  /** Rejects only when `signal` aborts: whether the receiver got it is then unknown. */
  async make(claimed: Claimed, signal: AbortSignal): Promise<AttemptReport> {
    const begunAt = monotonicMs();
    const at = storeTime(claimed, begunAt);
    let answer: Answer | undefined;
    let error: string | undefined;
    try {
      answer = await this.send(claimed, at, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      error = describe(cause);
      this.reportForbidden(cause, claimed);
    }
    checkpoint('notifications.answered', { id: claimed.notification.id });
    const endedAt = monotonicMs();
    const verdict = answer ? judge(answer, storeTime(claimed, endedAt), this.options) : ({ kind: 'failed' } as const);
    const durationMs = Math.round(endedAt - begunAt);
    return { verdict, attempt: { at: Math.floor(at), durationMs, status: answer?.status, error } };
  }

  private async send(claimed: Claimed, at: number, signal: AbortSignal): Promise<Answer> {
    const { notification, lane } = claimed;
    const url = notification.url ?? lane.url;
    if (url === undefined) throw new Error('the endpoint was removed');
    const target = checkedTarget(url, this.options.targets);
    const secrets = notification.url === undefined ? liveSecrets(lane.secrets, at) : this.options.secrets;
    if (secrets.length === 0) throw new Error('there is no secret to sign with');
    const { id, body } = notification;
    const signed = signedHeaders({ id, timestamp: Math.floor(at / 1_000), body }, secrets);
    checkpoint('notifications.sending', { id });
    return sendWebhook({
      target,
      body,
      timeoutMs: this.options.timeoutMs,
      lookup: this.lookup,
      signal,
      headers: { ...signed, 'Content-Type': 'application/json', 'User-Agent': AGENT },
    });
  }

  private reportForbidden(cause: unknown, { notification: { endpoint } }: Claimed): void {
    if (!(cause instanceof TargetForbiddenError)) return;
    this.incidents.report({
      code: 'NOTIFICATION_TARGET_FORBIDDEN',
      source: 'notifications.delivery',
      message: 'an endpoint leads to where notifications may not go',
      cause,
      fields: { endpoint },
    });
  }
}

/** By the store's clock, as far as it is known: at most the time of the claim's round trip too late. */
export function storeTime({ notification, since }: Claimed, localMs: number): number {
  return notification.claimedAt + (localMs - since);
}

/** The newest first. */
export function liveSecrets(secrets: readonly EndpointSecret[], nowMs: number): string[] {
  return secrets.filter(({ until }) => until === undefined || until > nowMs).map(({ secret }) => secret);
}

function describe(cause: unknown): string {
  const code = (cause as { readonly code?: unknown } | null)?.code;
  const text = cause instanceof AggregateError ? String(code) : messageOfThrown(cause);
  return (text === '' ? describeThrown(cause) : text).slice(0, MAX_ERROR_CHARS);
}
