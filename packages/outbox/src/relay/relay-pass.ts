import { checkpoint, Incidents, monotonicMs, record } from '@lockstep/core';
import type { ClaimedMessages, OutboxDelivery, OutboxStore, ShardLease } from '../outbox-store.js';
import type { DeliveryPublisher } from './delivery-publisher.js';
import type { SlowStart } from './slow-start.js';

/** As long as the transport is away, messages wait in their order; behind one that nobody takes they would wait for ever. */
const LONGEST_HOLD_MS = 30_000;

interface Held {
  readonly lease: ShardLease;
  readonly deliveries: readonly OutboxDelivery[];
  readonly sinceMs: number;
}

export interface RelayRange {
  readonly fromShard: number;
  readonly toShard: number;
  readonly redeliverAfterMs: number;
}

/**
 * One shard, one pass at a time. Claims what is next and publishes it; no transaction is open while the transport
 * works. A crash between any two steps is a re-delivery: claimed messages are in flight before they are published.
 *
 * ```
 * idle --claimed--> holding --published--> idle
 *                   holding --the transport did not answer--> holding those, published first by the next pass
 *                   holding --nor for half a minute--> idle: they are left to the scan
 *                   holding --the lease ended, or is another one--> idle: what is in flight is re-delivered
 * ```
 */
export class RelayPass {
  private held: Held | undefined;

  constructor(
    private readonly range: RelayRange,
    private readonly store: OutboxStore,
    private readonly publisher: DeliveryPublisher,
    private readonly pace: SlowStart,
    private readonly incidents: Incidents,
  ) {}

  /** @returns whether there may be more to do at once @throws when store or transport did not answer */
  async run(lease: ShardLease): Promise<boolean> {
    if (this.held?.lease !== lease) this.held = undefined;
    let more = true;
    let noteRelayed = (): void => undefined;
    if (!this.held) {
      const limit = this.pace.limit;
      const claimed = await this.store.claim({ ...this.range, limit });
      if (claimed.messages === 0) return false;
      checkpoint('outbox.claimed', { shard: this.range.fromShard, messages: claimed.messages });
      this.held = { lease, deliveries: claimed.deliveries, sinceMs: monotonicMs() };
      more = claimed.messages >= limit;
      noteRelayed = relayedNote(claimed);
    }
    // Publishing cannot be fenced. A relay that was paused here would overtake its successor, so it looks once more.
    if (!lease.isHeld()) {
      this.drop();
      return false;
    }
    const { sinceMs } = this.held;
    const { held, cause } = await this.publisher.publish(this.held.deliveries);
    this.held = held.length > 0 ? { lease, deliveries: held, sinceMs } : undefined;
    if (this.held) {
      if (monotonicMs() - sinceMs >= LONGEST_HOLD_MS) await this.letGo(this.held, cause);
      throw cause;
    }
    noteRelayed();
    return more;
  }

  private async letGo({ deliveries }: Held, cause: unknown): Promise<void> {
    await this.publisher.leaveToScan(deliveries, cause);
    this.held = undefined;
  }

  private drop(): void {
    const messages = this.held?.deliveries.length ?? 0;
    this.held = undefined;
    this.incidents.report({
      code: 'OUTBOX_LEASE_LOST_BEFORE_PUBLISH',
      source: 'outbox.relay',
      message: 'the lease ended between claim and publish; the messages are re-delivered',
      fields: { shard: this.range.fromShard, messages },
    });
  }
}

/** Notes how long ago each was published: by the store's clock up to the claim, from there on by the local one. */
function relayedNote({ deliveries, claimedAt }: ClaimedMessages): () => void {
  const claimedAtMs = monotonicMs();
  return () => {
    if (claimedAt === undefined) return;
    const sinceMs = monotonicMs() - claimedAtMs;
    for (const { message } of deliveries) {
      record('lockstep.outbox.relay.duration', Math.max(claimedAt - message.publishedAt + sinceMs, 0) / 1_000);
    }
  };
}
