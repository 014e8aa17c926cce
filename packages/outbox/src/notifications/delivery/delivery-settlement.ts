import { setTimeout as sleep } from 'node:timers/promises';
import { checkpoint, count, Incidents, isLockstepError, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import type { Attempt } from '../notification.js';
import {
  type EndpointSeen,
  NOTIFICATION_STORE,
  type NotificationSettlement,
  type NotificationStore,
} from '../notification-store.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';
import { AttemptSchedule } from './attempt-schedule.js';
import { type AttemptReport, type Claimed, storeTime } from './delivery-attempt.js';
import { DeliveryWakeUp } from './delivery-wake-up.js';
import { DISABLED_REASON, EndpointVerdicts } from './endpoint-verdicts.js';
import type { Verdict } from './verdict.js';

const MAX_LOGGED_ATTEMPTS = 20;
const FIRST_PAUSE_MS = 50;

/** Writes down what came of an attempt, for the notification and for its endpoint. */
@Injectable()
export class DeliverySettlement {
  private readonly schedule: AttemptSchedule;

  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(EndpointVerdicts) private readonly verdicts: EndpointVerdicts,
    @Inject(DeliveryWakeUp) private readonly wakeUp: DeliveryWakeUp,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    this.schedule = new AttemptSchedule(options.scheduleMs, options.jitter);
  }

  async settle(claimed: Claimed, { verdict: answered, attempt }: AttemptReport): Promise<void> {
    count('lockstep.notifications.attempts', { outcome: answered.kind });
    const { notification, lane } = claimed;
    const seen = { endpoint: notification.endpoint, url: notification.url, version: lane.version };
    // First the endpoint, so that nothing more is begun for one that wants nothing; but a success is written at once.
    const isHeard = await this.tellEndpoint(claimed, seen, answered);
    const verdict: Verdict = isHeard ? answered : { kind: 'failed' };
    const isCurrent = await this.write(claimed, this.settlementOf(claimed, verdict, attempt));
    // Others have sent it since, and know better how the endpoint is.
    if (!isCurrent) return;
    if (verdict.kind === 'failed' || verdict.kind === 'throttled') await this.verdicts.failed(seen);
    // Not by the lane: another attempt of the same time may have failed since it was read.
    if (verdict.kind === 'delivered') await this.verdicts.succeeded(seen);
  }

  /** False for what is no longer the endpoint's wish, so that only the attempt has failed. */
  private async tellEndpoint(claimed: Claimed, seen: EndpointSeen, verdict: Verdict): Promise<boolean> {
    if (verdict.kind !== 'gone' && verdict.kind !== 'throttled') return true;
    if (monotonicMs() >= claimed.since + this.options.leaseTtlMs) return false;
    return verdict.kind === 'gone' ? this.verdicts.gone(seen) : this.verdicts.throttled(seen, verdict.pauseMs);
  }

  /** The attempt was not made, or broken off by a shutdown. */
  async release({ notification: { id, epoch } }: Claimed): Promise<void> {
    await this.store.settle({ id, epoch, outcome: 'released' });
  }

  /** Whoever makes the attempts dies of it, or the schedule was made shorter. */
  async giveUp(claimed: Claimed): Promise<void> {
    const { id, epoch, attempt, attempts } = claimed.notification;
    const last = attempts.at(-1);
    const haveAllEnded = attempts.length >= Math.min(attempt - 1, MAX_LOGGED_ATTEMPTS);
    await this.write(claimed, {
      id,
      epoch,
      outcome: 'exhausted',
      attempts,
      reason: last && haveAllEnded ? reasonOf(last) : 'the process ended during the last attempt',
    });
  }

  /** Whether this claim is one more than the schedule has. */
  isOver({ notification: { attempt } }: Claimed): boolean {
    return attempt > this.schedule.attempts;
  }

  private settlementOf({ notification }: Claimed, verdict: Verdict, attempt: Attempt): NotificationSettlement {
    const { id, epoch } = notification;
    const attempts = [...notification.attempts, attempt].slice(-MAX_LOGGED_ATTEMPTS);
    if (verdict.kind === 'delivered') return { id, epoch, outcome: 'delivered', attempts };
    if (verdict.kind === 'gone') return { id, epoch, outcome: 'cancelled', attempts, reason: DISABLED_REASON };
    const pauseMs = this.schedule.pauseBefore(notification.attempt + 1);
    if (pauseMs === undefined) {
      return { id, epoch, outcome: 'exhausted', attempts, reason: reasonOf(attempt) };
    }
    const delayMs = Math.max(pauseMs, verdict.kind === 'throttled' ? verdict.pauseMs : 0);
    return { id, epoch, outcome: 'retry', attempts, delayMs };
  }

  /** Whether it came in time. */
  private async write(claimed: Claimed, settlement: NotificationSettlement): Promise<boolean> {
    const isCurrent = await this.insistently(claimed, () => this.store.settle(settlement));
    checkpoint('notifications.settled', { id: settlement.id });
    if (!isCurrent) {
      count('lockstep.notifications.settled_late');
      return false;
    }
    if (settlement.outcome === 'exhausted') this.reportExhausted(claimed, settlement.reason);
    if (settlement.outcome === 'retry') {
      this.wakeUp.at(claimed.notification.endpoint, storeTime(claimed, monotonicMs()) + settlement.delayMs);
    }
    return true;
  }

  /** What is not written down is sent once more, so it is worth a few tries while nobody else may take it. */
  private async insistently(claimed: Claimed, write: () => Promise<boolean>): Promise<boolean> {
    const deadline = claimed.since + this.options.leaseTtlMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs *= 2) {
      try {
        // Refused the second time, it was the first one that took effect and whose answer was lost.
        return (await write()) || pauseMs > FIRST_PAUSE_MS;
      } catch (error) {
        const isPassing = isLockstepError(error) && error.kind === 'unavailable';
        if (!isPassing || monotonicMs() + pauseMs >= deadline) throw error;
      }
      await sleep(pauseMs, undefined, { ref: false });
    }
  }

  private reportExhausted({ notification: { id, endpoint, attempt } }: Claimed, reason: string): void {
    count('lockstep.notifications.exhausted');
    this.incidents.report({
      code: 'NOTIFICATION_EXHAUSTED',
      source: 'notifications.delivery',
      message: `given up after ${attempt} attempts: ${reason}`,
      fields: { id, endpoint },
    });
  }
}

function reasonOf({ error, status }: Attempt): string {
  return error ?? `answered ${status}`;
}
