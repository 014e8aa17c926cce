import { count, Incidents } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { type EndpointSeen, NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';

/** The longest pause of the standard schedule is a day: two failures in a row may lie so far apart, and not further. */
const GAP_MS = 2 * 86_400_000;
const CANCEL_BATCH = 1_000;

export const DISABLED_REASON = 'the endpoint is disabled';

/** What the answers of an endpoint mean for the endpoint itself. */
@Injectable()
export class EndpointVerdicts {
  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  async succeeded(seen: EndpointSeen): Promise<void> {
    await this.store.endpoints.succeeded(seen);
  }

  /** False as for {@link gone}. */
  throttled(seen: EndpointSeen, pauseMs: number): Promise<boolean> {
    return this.store.endpoints.pause(seen, pauseMs);
  }

  async failed(seen: EndpointSeen): Promise<void> {
    const { disableAfterMs } = this.options;
    const isDisabled = await this.store.endpoints.failed({ ...seen, gapMs: GAP_MS, disableAfterMs });
    if (isDisabled) await this.disabled(seen.endpoint, 'it has failed for too long');
  }

  /** False when the endpoint was changed or enabled since: who wants nothing is not who is called now. */
  async gone(seen: EndpointSeen): Promise<boolean> {
    if (!(await this.store.endpoints.gone(seen, 'answered 410'))) return false;
    await this.disabled(seen.endpoint, 'it answered 410');
    return true;
  }

  /** Finishes what nobody will send. What is in somebody's hands follows when it is due again. */
  async cancelPending(endpoint: string, reason: string): Promise<void> {
    for (;;) {
      const cancelled = await this.store.cancelPending(endpoint, reason, CANCEL_BATCH);
      count('lockstep.notifications.cancelled', {}, cancelled);
      if (cancelled < CANCEL_BATCH) return;
    }
  }

  private async disabled(endpoint: string, why: string): Promise<void> {
    this.incidents.report({
      code: 'NOTIFICATION_ENDPOINT_DISABLED',
      source: 'notifications.delivery',
      message: `an endpoint gets no notifications any more: ${why}`,
      fields: { endpoint },
    });
    await this.cancelPending(endpoint, DISABLED_REASON);
  }
}
