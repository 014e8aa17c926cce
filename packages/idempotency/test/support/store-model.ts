import { randomBytes } from 'node:crypto';
import type {
  BeginOutcome,
  BeginRequest,
  IdempotencyStore,
  LeaseExpiryPolicy,
  Settlement,
} from '@lockstep/idempotency';
import type { Actor } from '@lockstep/testing';

const LONG_MS = 60_000;
const RETENTION_MS = 3_600_000;

/** What the explorer lets happen to one operation, and what must stay true of it. */
export class StoreModel {
  readonly id = randomBytes(32).toString('base64url');
  /** Owners that hold a claim whose lease is not over. */
  private readonly live = new Set<string>();
  private readonly started = new Set<string>();
  private lastOwner = '';
  private lastFence = 0n;
  private completed: string | undefined;
  private violation: string | undefined;

  constructor(
    private readonly store: IdempotencyStore,
    private readonly policy: LeaseExpiryPolicy,
    /** Ends the lease of the operation, as time would. */
    private readonly endLease: (id: string) => Promise<void>,
  ) {}

  check(): void {
    if (this.violation) throw new Error(this.violation);
  }

  /** Begins (twice, as a client library may), renews, ends (twice) and then looks at the result. */
  owner(name: string, settlement: Settlement): Actor {
    return async (step) => {
      const claim = { id: this.id, owner: name };
      await step('begin');
      const begun = await this.begin(name);
      if (begun.outcome !== 'acquired') return;
      await step('begin again');
      await this.begin(name);
      await step('renew');
      const [renewal] = await this.store.renew([{ ...claim, leaseMs: LONG_MS, retentionMs: RETENTION_MS }]);
      if (renewal === 'renewed') this.hold(name, 'renewed');
      await step('settle');
      const settled = await this.store.settle(claim, settlement);
      this.ended(name, settlement, settled);
      await step('settle again');
      if (settled && !(await this.settleAgain(name, settlement))) this.fail(`${name}: a repeated settlement differs`);
    };
  }

  clock(): Actor {
    return async (step) => {
      for (const round of ['first', 'second']) {
        await step(`${round} lease ends`);
        this.live.clear();
        await this.endLease(this.id);
      }
    };
  }

  sweeper(): Actor {
    return async (step) => {
      await step('sweep');
      await this.store.sweep(10);
    };
  }

  /** A completed operation stays what it was; an unknown one is still known to be unknown. */
  async atTheEnd(): Promise<void> {
    this.check();
    await this.endLease(this.id);
    const last = await this.store.begin(this.request('the-last'));
    if (this.completed !== undefined) {
      if (last.outcome !== 'completed' || last.response !== this.completed) throw new Error(`lost: ${last.outcome}`);
      return;
    }
    if (last.outcome === 'acquired' && last.fence <= this.lastFence) throw new Error('a fence came twice');
    if (last.outcome === 'uncertain' && this.started.size === 0) throw new Error('uncertain without a start');
  }

  private request(owner: string): BeginRequest {
    return {
      id: this.id,
      fingerprint: 'fp',
      owner,
      operation: 'POST /orders',
      leaseMs: LONG_MS,
      retentionMs: RETENTION_MS,
      onLeaseExpiry: this.policy,
      applyWithinMs: LONG_MS,
    };
  }

  private async begin(name: string): Promise<BeginOutcome> {
    const outcome = await this.store.begin(this.request(name));
    if (outcome.outcome === 'acquired') this.acquired(name, outcome.fence);
    if (outcome.outcome === 'completed' && outcome.response !== this.completed) this.fail(`${name}: a foreign answer`);
    return outcome;
  }

  private acquired(name: string, fence: bigint): void {
    if (this.completed !== undefined) this.fail(`${name} owns what is completed`);
    if (this.lastOwner === name ? fence !== this.lastFence : fence <= this.lastFence)
      this.fail(`${name}: fence ${fence}`);
    if (this.policy === 'uncertain' && this.lastOwner !== name && this.isOpen)
      this.fail(`${name} took an open operation`);
    this.hold(name, 'acquired');
    this.started.add(name);
    this.lastOwner = name;
    this.lastFence = fence;
    this.isOpen = true;
  }

  private isOpen = false;

  private hold(name: string, how: string): void {
    if (this.lastOwner !== name && how === 'renewed') this.fail(`${name} renewed what ${this.lastOwner} has`);
    this.live.add(name);
    if (this.live.size > 1) this.fail(`two live owners: ${[...this.live].join(', ')}`);
  }

  private ended(name: string, settlement: Settlement, settled: boolean): void {
    this.live.delete(name);
    if (!settled) return;
    if (this.lastOwner !== name) this.fail(`the write of the zombie ${name} took effect`);
    if (this.completed !== undefined) this.fail(`${name} wrote over a completed operation`);
    if (settlement.to === 'completed') this.completed = settlement.response;
    this.isOpen = settlement.to === 'uncertain';
  }

  private async settleAgain(name: string, settlement: Settlement): Promise<boolean> {
    // After a release another owner may have come, and then the repetition rightly says no.
    return (await this.store.settle({ id: this.id, owner: name }, settlement)) || this.lastOwner !== name;
  }

  private fail(message: string): void {
    this.violation ??= message;
  }
}
