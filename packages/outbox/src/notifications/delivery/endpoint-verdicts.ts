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
  /** What is pending for them and not yet due is found by nobody else so soon. */
  private readonly justDisabled = new Set<string>();

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
    if (isDisabled) this.disabled(seen.endpoint, 'it has failed for too long');
  }

  /** False when the endpoint was changed or enabled since: who wants nothing is not who is called now. */
  async gone(seen: EndpointSeen): Promise<boolean> {
    if (!(await this.store.endpoints.gone(seen, 'answered 410'))) return false;
    this.disabled(seen.endpoint, 'it answered 410');
    return true;
  }

  /** Finishes what nobody will send, as long as the endpoint is disabled. What is in somebody's hands follows when it is due. */
  async cancelPending(endpoint: string): Promise<void> {
    while (await this.cancelBatch(endpoint));
  }

  /**
   * A batch for each of `endpoints`, and of those that were disabled here: others do not wait for a backlog.
   *
   * @returns whether there may be more
   */
  async cancelSome(endpoints: readonly string[], signal: AbortSignal): Promise<boolean> {
    let isLeft = false;
    for (const endpoint of new Set([...endpoints, ...this.justDisabled])) {
      if (signal.aborted) return true;
      if (await this.cancelBatch(endpoint)) isLeft = true;
      else this.justDisabled.delete(endpoint);
    }
    return isLeft;
  }

  private async cancelBatch(endpoint: string): Promise<boolean> {
    const cancelled = await this.store.cancelPending(endpoint, DISABLED_REASON, CANCEL_BATCH);
    count('lockstep.notifications.cancelled', {}, cancelled);
    return cancelled >= CANCEL_BATCH;
  }

  private disabled(endpoint: string, why: string): void {
    this.justDisabled.add(endpoint);
    this.incidents.report({
      code: 'NOTIFICATION_ENDPOINT_DISABLED',
      source: 'notifications.delivery',
      message: `an endpoint gets no notifications any more: ${why}`,
      fields: { endpoint },
    });
  }
}
