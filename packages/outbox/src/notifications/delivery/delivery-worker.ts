import { setMaxListeners } from 'node:events';
import {
  checkpoint,
  DrainService,
  Incidents,
  monotonicMs,
  PeriodicTask,
  type WakeUpSubscription,
  withSpan,
} from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type Lane, NOTIFICATION_STORE, type NotificationStore } from '../notification-store.js';
import { NOTIFICATIONS_OPTIONS, type ResolvedNotificationsOptions } from '../notifications.options.js';
import { type Claimed, DeliveryAttempt } from './delivery-attempt.js';
import { DeliverySettlement } from './delivery-settlement.js';
import { DeliveryWakeUp } from './delivery-wake-up.js';
import { EndpointVerdicts } from './endpoint-verdicts.js';
import { LaneSlots } from './lane-slots.js';

/** Lanes beyond those that are full: enough to find work for every free slot. */
const SPARE_LANES = 10;
/** A pass ends, however its lanes change meanwhile. */
const CLAIM_ROUNDS = 3;
const MAX_TIMER_MS = 2_147_483_647;

/**
 * Sends what is due. Any number of processes may run it: each claims what it has free slots for, and nobody holds a
 * transaction while a receiver takes its time.
 *
 * ```
 * due --claimed--> sending --answered--> settled
 *  ^                  |-- broken off by a shutdown --> released: due at once
 *  '-- lease over ----'-- the process died
 * ```
 */
@Injectable()
export class DeliveryWorker implements OnApplicationBootstrap {
  private readonly task: PeriodicTask;
  private readonly slots: LaneSlots;
  private readonly running = new Set<Promise<void>>();
  private readonly broken = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(NOTIFICATION_STORE) private readonly store: NotificationStore,
    @Inject(NOTIFICATIONS_OPTIONS) private readonly options: ResolvedNotificationsOptions,
    @Inject(DeliveryAttempt) private readonly attempt: DeliveryAttempt,
    @Inject(DeliverySettlement) private readonly settlement: DeliverySettlement,
    @Inject(EndpointVerdicts) private readonly verdicts: EndpointVerdicts,
    @Inject(DeliveryWakeUp) private readonly wakeUp: DeliveryWakeUp,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {
    // Every attempt listens to it.
    setMaxListeners(0, this.broken.signal);
    this.slots = new LaneSlots(options.concurrency, options.concurrencyPerEndpoint);
    this.task = new PeriodicTask({
      name: 'notification delivery',
      everyMs: options.sweepEveryMs,
      run: (signal) => this.pass(signal),
      onError: (cause) => this.report('a pass failed', cause),
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.options.runWorker) return;
    const subscription = await this.wakeUp.listen(() => this.task.wake());
    this.drains.register({
      name: 'notification delivery',
      phase: 'intake',
      drain: (signal) => this.stopClaiming(subscription, signal),
    });
    this.drains.register({ name: 'notifications in flight', phase: 'work', drain: (signal) => this.finish(signal) });
    this.drains.register({ name: 'notifications given back', phase: 'leases', drain: () => this.giveBack() });
    this.task.start();
  }

  private async stopClaiming(subscription: WakeUpSubscription, signal: AbortSignal): Promise<void> {
    clearTimeout(this.timer);
    await this.task.stop();
    clearTimeout(this.timer);
    await subscription.close(signal);
  }

  private async finish(signal: AbortSignal): Promise<void> {
    const giveUp = (): void => this.broken.abort();
    signal.addEventListener('abort', giveUp, { once: true });
    await Promise.all(this.running);
    signal.removeEventListener('abort', giveUp);
  }

  /** What a receiver did not answer in time is for another process to send, and not only after the lease. */
  private async giveBack(): Promise<void> {
    this.broken.abort();
    await Promise.all(this.running);
  }

  private async pass(signal: AbortSignal): Promise<'again' | undefined> {
    const lanes = await this.store.lanes(2 * this.options.concurrency + SPARE_LANES);
    const due = lanes.filter(({ dueInMs }) => dueInMs <= 0);
    const disabled = due.filter(({ isDisabled }) => isDisabled).map(({ endpoint }) => endpoint);
    const isShort = await this.claimInTurn(
      due.filter(({ isDisabled }) => !isDisabled),
      signal,
    );
    const isLeft = await this.verdicts.cancelSome(disabled, signal);
    if (signal.aborted) return undefined;
    this.setTimer(lanes.find(({ dueInMs }) => dueInMs > 0)?.dueInMs);
    return isShort || isLeft ? 'again' : undefined;
  }

  /** What one lane leaves of its share goes to the others. True when some of it is still left, and wanted. */
  private async claimInTurn(lanes: readonly Lane[], signal: AbortSignal): Promise<boolean> {
    let open = lanes;
    for (let round = 0; round < CLAIM_ROUNDS; round += 1) {
      const shares = this.slots.share(open);
      const empty = new Set<Lane>();
      for (const lane of open) {
        if (signal.aborted) return false;
        const limit = shares.get(lane.endpoint) ?? 0;
        if (limit > 0 && (await this.claim(lane, limit)) < limit) empty.add(lane);
      }
      if (empty.size === 0) return false;
      open = open.filter((lane) => !empty.has(lane));
    }
    return this.slots.share(open).size > 0;
  }

  private async claim(lane: Lane, limit: number): Promise<number> {
    const since = monotonicMs();
    const { leaseTtlMs: leaseMs } = this.options;
    const notifications = await this.store.claim({ endpoint: lane.endpoint, limit, leaseMs });
    if (notifications.length > 0) checkpoint('notifications.claimed', { notifications: notifications.length });
    for (const notification of notifications) this.start({ notification, lane, since });
    return notifications.length;
  }

  private start(claimed: Claimed): void {
    const { endpoint } = claimed.lane;
    this.slots.take(endpoint);
    const run = this.deliver(claimed)
      .catch((cause: unknown) => this.report('what came of an attempt could not be written down', cause))
      .finally(() => {
        this.running.delete(run);
        this.slots.giveBack(endpoint);
        this.task.wake();
      });
    this.running.add(run);
  }

  private async deliver(claimed: Claimed): Promise<void> {
    if (this.settlement.isOver(claimed)) return this.settlement.giveUp(claimed);
    // The process was suspended, or the claim took long: somebody else may be at it before this attempt ends.
    const leftMs = claimed.since + this.options.leaseTtlMs - monotonicMs();
    if (leftMs < this.options.timeoutMs) return this.settlement.release(claimed);
    const { attempt } = claimed.notification;
    const attributes = {
      'lockstep.notification.endpoint': claimed.lane.endpoint,
      'lockstep.notification.attempt': attempt,
    };
    return withSpan('lockstep.notifications.deliver', attributes, async (span) => {
      const report = await this.attempt.make(claimed, this.broken.signal).catch((error: unknown) => {
        if (this.broken.signal.aborted) return undefined;
        throw error;
      });
      if (!report) return this.settlement.release(claimed);
      if (report.attempt.status) span.setAttribute('http.response.status_code', report.attempt.status);
      return this.settlement.settle(claimed, report);
    });
  }

  private setTimer(inMs: number | undefined): void {
    clearTimeout(this.timer);
    if (inMs === undefined) return;
    this.timer = setTimeout(() => this.task.wake(), Math.min(Math.ceil(inMs), MAX_TIMER_MS));
    this.timer.unref();
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({
      code: 'NOTIFICATION_PASS_FAILED',
      source: 'notifications.delivery',
      message,
      cause,
    });
  }
}
