import { checkpoint, Incidents, monotonicMs, PeriodicTask, record } from '@lockstep/core';
import type { ClaimedMessages, OutboxDelivery, OutboxStore, ShardLease } from '../outbox-store.js';
import { ClaimFloor, type SentClaim } from './claim-floor.js';
import type { DeliveryPublisher } from './delivery-publisher.js';
import type { SlowStart } from './slow-start.js';

/** As long as the transport is away, messages wait in their order; behind one that nobody takes they would wait for ever. */
const LONGEST_HOLD_MS = 30_000;

export interface RelayRange {
  readonly fromShard: number;
  readonly toShard: number;
  readonly redeliverAfterMs: number;
}

/** How often the lease is renewed while a claim has all the time that it needs. */
const RENEW_EVERY_MS = 1_000;

interface Claim {
  readonly sent: SentClaim;
  readonly claimed: ClaimedMessages;
}

interface Held extends Claim {
  readonly deliveries: readonly OutboxDelivery[];
  readonly sinceMs: number;
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
  private lease: ShardLease | undefined;
  private readonly floor = new ClaimFloor();

  constructor(
    private readonly range: RelayRange,
    private readonly store: OutboxStore,
    private readonly publisher: DeliveryPublisher,
    private readonly pace: SlowStart,
    private readonly incidents: Incidents,
  ) {}

  /** @returns whether there may be more to do at once @throws when store or transport did not answer */
  async run(lease: ShardLease): Promise<boolean> {
    if (this.lease !== lease) this.begin(lease);
    let more = true;
    let noteRelayed = (): void => undefined;
    if (!this.held) {
      const claim = await this.fromStore(() => this.claim(lease));
      const { sent, claimed } = claim;
      if (claimed.messages === 0) {
        this.floor.settled(sent, claimed);
        return false;
      }
      checkpoint('outbox.claimed', { shard: this.range.fromShard, messages: claimed.messages });
      this.held = { ...claim, deliveries: claimed.deliveries, sinceMs: monotonicMs() };
      more = claimed.messages >= sent.limit;
      noteRelayed = relayedNote(claimed);
    }
    // Publishing cannot be fenced. A relay that was paused here would overtake its successor, so it looks once more.
    if (!lease.isHeld()) {
      this.drop();
      return false;
    }
    await this.publish(this.held);
    noteRelayed();
    return more;
  }

  /** What another owner left in the outbox may stand anywhere. */
  private begin(lease: ShardLease): void {
    this.lease = lease;
    this.held = undefined;
    this.floor.forget();
  }

  private async claim(lease: ShardLease): Promise<Claim> {
    const limit = this.pace.limit;
    const sent = this.floor.next(limit);
    const ask = () => this.store.claim({ ...this.range, limit, ...sent.request });
    const claimed = await (sent.request.patient ? this.renewing(lease, ask) : ask());
    this.floor.answered(sent, claimed);
    return { sent, claimed };
  }

  private async publish({ deliveries, ...claim }: Held): Promise<void> {
    const { held, cause } = await this.fromStore(() => this.publisher.publish(deliveries));
    this.held = held.length > 0 ? { ...claim, deliveries: held } : undefined;
    if (this.held) {
      if (monotonicMs() - claim.sinceMs >= LONGEST_HOLD_MS) await this.letGo(this.held, cause);
      throw cause;
    }
    this.floor.settled(claim.sent, claim.claimed);
  }

  private async letGo({ deliveries }: Held, cause: unknown): Promise<void> {
    await this.fromStore(() => this.publisher.leaveToScan(deliveries, cause));
    this.held = undefined;
    this.floor.forget();
  }

  /** Whatever failed may have been done or not: the next claim begins where nothing can be missed. */
  private async fromStore<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      this.floor.forget();
      throw error;
    }
  }

  /** A claim that takes longer than the lease would be given up each time, and be as long the next time. */
  private async renewing<T>(lease: ShardLease, step: () => Promise<T>): Promise<T> {
    let isFirst = true;
    const renewal = new PeriodicTask({
      name: `outbox lease of shard ${this.range.fromShard}`,
      everyMs: RENEW_EVERY_MS,
      run: async () => {
        // The task begins with a pass, and most claims are over before there is anything to renew.
        if (!isFirst) await lease.renew();
        isFirst = false;
        return undefined;
      },
      onError: (cause) =>
        this.incidents.report({
          code: 'OUTBOX_PASS_FAILED',
          source: 'outbox.relay',
          message: 'the lease was not renewed beside a long claim; it holds until its time is over',
          cause,
          fields: { shard: this.range.fromShard },
        }),
    });
    renewal.start();
    try {
      return await step();
    } finally {
      await renewal.stop();
    }
  }

  private drop(): void {
    const messages = this.held?.deliveries.length ?? 0;
    this.held = undefined;
    this.floor.forget();
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
