import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { CheckBackPass } from './check-back-pass.js';
import { TombstonePass } from './tombstone-pass.js';

const PURGE_EVERY_MS = 600_000;
const PURGE_BATCH = 1_000;

/**
 * Runs {@link TombstonePass} and {@link CheckBackPass} where relays run, and purges what was decided long ago. At the
 * shutdown it waits for no check: what one answers then is not heard, and the message is checked again elsewhere.
 */
@Injectable()
export class CheckBack implements OnApplicationBootstrap {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(TombstonePass) private readonly tombstones: TombstonePass,
    @Inject(CheckBackPass) private readonly checks: CheckBackPass,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    const { sweepEveryMs } = this.options;
    const checking = this.loop('outbox check-back', sweepEveryMs, () => this.checks.run());
    const reading = this.loop('outbox tombstone check', sweepEveryMs, () => this.tombstones.run());
    const purging = this.loop('outbox half message purge', PURGE_EVERY_MS, async () => {
      return (await this.store.prepared.purge(this.options.halfMessageRetentionMs)) >= PURGE_BATCH;
    });
    this.drains.register({
      name: 'outbox check-back',
      phase: 'intake',
      drain: async () => {
        await Promise.all([this.checks.stop(), checking.stop(), reading.stop(), purging.stop()]);
      },
    });
    this.checks.whenFree(() => checking.wake());
    for (const task of [checking, reading, purging]) task.start();
  }

  private loop(name: string, everyMs: number, pass: () => Promise<boolean>): PeriodicTask {
    return new PeriodicTask({
      name,
      everyMs,
      run: async () => ((await pass()) ? 'again' : undefined),
      onError: (cause) =>
        this.incidents.report({
          code: 'OUTBOX_PASS_FAILED',
          source: 'outbox.check-back',
          message: `${name}: a pass failed`,
          cause,
        }),
    });
  }
}
