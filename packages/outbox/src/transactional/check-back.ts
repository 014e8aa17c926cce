import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { CheckBackPass } from './check-back-pass.js';

const PURGE_EVERY_MS = 600_000;
const PURGE_BATCH = 1_000;

/** Runs {@link CheckBackPass} where relays run, and purges what was decided long ago. */
@Injectable()
export class CheckBack implements OnApplicationBootstrap {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(CheckBackPass) private readonly pass: CheckBackPass,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    const checking = this.loop('outbox check-back', this.options.sweepEveryMs, () => this.pass.run());
    const purging = this.loop('outbox half message purge', PURGE_EVERY_MS, async () => {
      return (await this.store.prepared.purge(this.options.halfMessageRetentionMs)) >= PURGE_BATCH;
    });
    this.drains.register({
      name: 'outbox check-back',
      phase: 'intake',
      drain: async () => void (await Promise.all([checking.stop(), purging.stop()])),
    });
    checking.start();
    purging.start();
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
