import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from './outbox.options.js';
import { OUTBOX_STORE, type OutboxFacts, type OutboxStore } from './outbox-store.js';

/** How old what waits has become: the one figure that shows every way in which messages can stop flowing. */
@Injectable()
export class OutboxHealth {
  constructor(
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
  ) {}

  /** Costs the same however long the backlog is. @throws StoreUnavailableError */
  facts(): Promise<OutboxFacts> {
    return this.store.operations.facts(this.options.shards);
  }

  /** Milliseconds since the oldest message that has not taken effect was published; 0 when there is none. */
  async oldestAgeMs(): Promise<number> {
    const { oldestPendingMs, oldestInFlightMs, oldestParkedMs } = await this.facts();
    return Math.max(oldestPendingMs, oldestInFlightMs, oldestParkedMs);
  }
}
