import { DrainService, Incidents, monotonicMs, type Observe, observeGauges } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxHealth } from '../outbox-health.service.js';
import { OUTBOX_STORE, type OutboxFacts, type OutboxStore } from '../outbox-store.js';
import type { PreparedFacts } from '../transactional/prepared-message-store.js';

const OLDEST_AGE = 'lockstep.outbox.oldest_age';
const DEPTH = 'lockstep.outbox.depth';
const STATE = 'lockstep.outbox.state';
/** Whoever collects more often than that is given the same figures again. */
const SAMPLE_EVERY_MS = 5_000;

/**
 * Shows how old what waits has become, and how much it is, wherever a relay runs. Looks at the store only when somebody
 * collects. All relays of an origin show the same figures, so the greatest of them is the right one, not their sum.
 */
@Injectable()
export class OutboxMetrics implements OnApplicationBootstrap {
  private sample: { readonly facts: Promise<OutboxFacts & PreparedFacts>; readonly atMs: number } | undefined;

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: Pick<ResolvedOutboxOptions, 'runRelay'>,
    @Inject(OutboxHealth) private readonly health: Pick<OutboxHealth, 'facts'>,
    @Inject(OUTBOX_STORE) private readonly store: Pick<OutboxStore, 'prepared'>,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    const end = observeGauges({ [OLDEST_AGE]: 's', [DEPTH]: '{message}' }, (observe) => this.observe(observe));
    this.drains.register({ name: 'outbox metrics', phase: 'intake', drain: async () => end() });
  }

  private async observe(observe: Observe<typeof OLDEST_AGE | typeof DEPTH>): Promise<void> {
    try {
      const facts = await this.facts();
      observe(OLDEST_AGE, facts.oldestPendingMs / 1_000, { [STATE]: 'pending' });
      observe(OLDEST_AGE, facts.oldestInFlightMs / 1_000, { [STATE]: 'in_flight' });
      observe(OLDEST_AGE, facts.oldestParkedMs / 1_000, { [STATE]: 'parked' });
      observe(OLDEST_AGE, facts.oldestDueMs / 1_000, { [STATE]: 'due' });
      observe(OLDEST_AGE, facts.oldestPreparedMs / 1_000, { [STATE]: 'prepared' });
      observe(DEPTH, facts.pending, { [STATE]: 'pending' });
      observe(DEPTH, facts.inFlight, { [STATE]: 'in_flight' });
      observe(DEPTH, facts.delayed, { [STATE]: 'delayed' });
      observe(DEPTH, facts.dead, { [STATE]: 'dead' });
      observe(DEPTH, facts.prepared, { [STATE]: 'prepared' });
      observe(DEPTH, facts.undecided, { [STATE]: 'undecided' });
    } catch (cause) {
      this.sample = undefined;
      this.incidents.report({
        code: 'OUTBOX_METRICS_FAILED',
        source: 'outbox.metrics',
        message: 'the store did not tell its figures',
        cause,
      });
    }
  }

  private facts(): Promise<OutboxFacts & PreparedFacts> {
    const nowMs = monotonicMs();
    if (this.sample && nowMs - this.sample.atMs < SAMPLE_EVERY_MS) return this.sample.facts;
    this.sample = { facts: this.ask(), atMs: nowMs };
    return this.sample.facts;
  }

  private async ask(): Promise<OutboxFacts & PreparedFacts> {
    const [facts, prepared] = await Promise.all([this.health.facts(), this.store.prepared.facts()]);
    return { ...facts, ...prepared };
  }
}
