import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inbox } from '@lockstep/sql';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { ReportPace } from './report-pace.js';

const LOOK_EVERY_MS = 600_000;
const REPORT_EVERY_MS = 3_600_000;
/** Of what the inbox remembers: the rest is the time in which somebody may still do something. */
const ALARMING_SHARE = 0.8;

/**
 * Reports that a message may be delivered again after the inbox has forgotten it, before that can happen: its effect
 * would be there twice, and nothing would tell. Wherever a relay runs. It knows the inbox of this application alone;
 * consumers with a database of their own may remember for longer, or less.
 */
@Injectable()
export class InboxWatch implements OnApplicationBootstrap {
  private readonly pace = new ReportPace(REPORT_EVERY_MS);

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: Pick<ResolvedOutboxOptions, 'runRelay' | 'shards'>,
    @Inject(OUTBOX_STORE) private readonly store: Pick<OutboxStore, 'operations'>,
    @Inject(Inbox) private readonly inbox: Pick<Inbox, 'retentionMs'>,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    const task = new PeriodicTask({
      name: 'outbox inbox watch',
      everyMs: LOOK_EVERY_MS,
      run: () => this.look(),
      onError: (cause) =>
        this.incidents.report({
          code: 'OUTBOX_PASS_FAILED',
          source: 'outbox.inbox-watch',
          message: 'outbox inbox watch: a pass failed',
          cause,
        }),
    });
    this.drains.register({ name: 'outbox inbox watch', phase: 'intake', drain: () => task.stop() });
    task.start();
  }

  private async look(): Promise<undefined> {
    const { oldestInFlightMs } = await this.store.operations.facts(this.options.shards);
    const { retentionMs } = this.inbox;
    if (oldestInFlightMs < retentionMs * ALARMING_SHARE || !this.pace.isDue('inbox')) return;
    this.incidents.report({
      code: 'OUTBOX_INBOX_TOO_SHORT',
      source: 'outbox.inbox-watch',
      message:
        'a message is in flight for nearly as long as the inbox remembers; delivered after that, it takes effect again',
      fields: { oldestInFlightMs, inboxRetentionMs: retentionMs },
    });
  }
}
