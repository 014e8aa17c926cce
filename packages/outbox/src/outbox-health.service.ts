import { isLockstepError, messageOfThrown, monotonicMs } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from './outbox.options.js';
import { type Look, OutboxProgress } from './outbox-progress.js';
import { OUTBOX_STORE, type OutboxFacts, type OutboxStore } from './outbox-store.js';

export interface OutboxHealthReport {
  readonly status: 'up' | 'down';
  /** Why it is down. */
  readonly reason?: string;
  /** Undefined when the store did not answer. */
  readonly facts?: OutboxFacts;
}

interface Kind {
  readonly name: string;
  readonly progress: OutboxProgress;
  readonly ageOf: (facts: OutboxFacts) => number;
}

/** How old what waits has become: the one figure that shows every way in which messages can stop flowing. */
@Injectable()
export class OutboxHealth {
  private readonly kinds: readonly Kind[] = [
    kind(
      'that no relay has taken',
      ({ oldestPendingMs }) => oldestPendingMs,
      ({ pending }) => pending,
    ),
    kind(
      'that no consumer has acknowledged',
      ({ oldestInFlightMs }) => oldestInFlightMs,
      ({ inFlight }) => inFlight,
    ),
    kind(
      'whose delay is over',
      ({ oldestDueMs }) => oldestDueMs,
      ({ delayed }) => delayed,
    ),
  ];

  constructor(
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(OUTBOX_OPTIONS) private readonly options: Pick<ResolvedOutboxOptions, 'shards' | 'unhealthyAfterMs'>,
  ) {}

  /** Costs the same however long the backlog is. @throws StoreUnavailableError */
  facts(): Promise<OutboxFacts> {
    return this.store.operations.facts(this.options.shards);
  }

  /**
   * Milliseconds for which the oldest message that has not taken effect has been on its way: since it was published, since its
   * delay was over, or since it was prepared and nobody has decided; 0 when there is none. Messages that wait for a person do
   * not count: dead letters, and parked half messages. @throws StoreUnavailableError
   */
  async oldestAgeMs(): Promise<number> {
    const [facts, { oldestPreparedMs }] = await Promise.all([this.facts(), this.store.prepared.facts()]);
    const { oldestPendingMs, oldestInFlightMs, oldestParkedMs, oldestDueMs } = facts;
    return Math.max(oldestPendingMs, oldestInFlightMs, oldestParkedMs, oldestDueMs, oldestPreparedMs);
  }

  /**
   * `down` when messages are older than `unhealthyAfter` and none of their kind was seen to leave for as long, or when
   * the store does not answer. It compares with what it saw before, so it says `up` until it has looked for that long; a
   * long backlog that is being worked off is `up`. Parked messages are in the facts and no reason: nobody has failed.
   *
   * Made for alarms: what is down need not be this process, so restarting it, or taking it out of service, may not help.
   */
  async check(): Promise<OutboxHealthReport> {
    const sentAtMs = monotonicMs();
    let facts: OutboxFacts;
    try {
      facts = await this.facts();
    } catch (error) {
      if (!isLockstepError(error) || error.kind !== 'unavailable') throw error;
      return { status: 'down', reason: messageOfThrown(error) };
    }
    const look: Look = { facts, sentAtMs, receivedAtMs: monotonicMs() };
    const reasons = this.kinds.flatMap((one) => this.reasonOf(one, look));
    return reasons.length === 0 ? { status: 'up', facts } : { status: 'down', reason: reasons.join('; '), facts };
  }

  private reasonOf({ name, progress, ageOf }: Kind, look: Look): string[] {
    const { unhealthyAfterMs } = this.options;
    const stillForMs = progress.stillForMs(look);
    const ageMs = ageOf(look.facts);
    if (ageMs < unhealthyAfterMs || stillForMs < unhealthyAfterMs) return [];
    return [`the oldest message ${name} is ${seconds(ageMs)} old, and none has left for ${seconds(stillForMs)}`];
  }
}

function kind(name: string, ageOf: (facts: OutboxFacts) => number, countOf: (facts: OutboxFacts) => number): Kind {
  return { name, ageOf, progress: new OutboxProgress(ageOf, countOf) };
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
