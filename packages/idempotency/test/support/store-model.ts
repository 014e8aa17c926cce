import { randomBytes } from 'node:crypto';
import type {
  BeginOutcome,
  BeginRequest,
  IdempotencyStore,
  LeaseExpiryPolicy,
  Resolution,
  Settlement,
} from '@lockstep/idempotency';

export const LONG_MS = 60_000;
export const RETENTION_MS = 3_600_000;

export interface StoreModelOptions {
  readonly store: IdempotencyStore;
  readonly policy: LeaseExpiryPolicy;
  /** Ends the lease of the operation, as time would. */
  readonly endLease: (id: string) => Promise<void>;
  /** Lets far more time pass than anything is kept; absent where time cannot be set. */
  readonly growOld?: () => void;
}

type Grant = { readonly fence: bigint; readonly steps?: Readonly<Record<string, string>> | undefined };

/** What is known of one operation while the explorer lets things happen to it, and what must stay true of it. */
export class StoreModel {
  readonly id = randomBytes(32).toString('base64url');
  readonly store: IdempotencyStore;
  readonly policy: LeaseExpiryPolicy;
  isIssued = false;
  /** Begins that were applied for a handler that never runs, and are not yet taken back. */
  readonly leftBehind = new Set<string>();
  /** Owners that hold a claim whose lease is not over. */
  private readonly live = new Set<string>();
  private readonly started = new Set<string>();
  private readonly steps = new Map<string, string>();
  private lastOwner = '';
  private lastFence = 0n;
  private completed: string | undefined;
  /** Somebody has it, or nobody knows what became of it. */
  private isOpen = false;
  /** Its owner has said that nobody knows. */
  private isUnknown = false;
  private readonly over = new Set<string>();
  private violation: string | undefined;

  constructor(private readonly options: StoreModelOptions) {
    this.store = options.store;
    this.policy = options.policy;
  }

  check(): void {
    if (this.violation) throw new Error(this.violation);
  }

  request(owner: string, change: Partial<BeginRequest> = {}): BeginRequest {
    return {
      id: this.id,
      fingerprint: 'fp',
      owner,
      operation: 'POST /orders',
      leaseMs: LONG_MS,
      retentionMs: RETENTION_MS,
      onLeaseExpiry: this.policy,
      applyWithinMs: LONG_MS,
      ...change,
    };
  }

  async leaseEnds(): Promise<void> {
    this.live.clear();
    await this.options.endLease(this.id);
  }

  /** By `begin`: an operation that nobody knows the outcome of is nobody's to begin. */
  begun(name: string, outcome: BeginOutcome): void {
    if (outcome.outcome === 'completed' && outcome.response !== this.completed) this.fail(`${name}: a foreign answer`);
    if (outcome.outcome !== 'acquired') return;
    const isOther = this.lastOwner !== name;
    if (this.policy === 'uncertain' && isOther && this.isOpen) this.fail(`${name} took an open operation`);
    if (this.isUnknown && isOther) this.fail(`${name} began what its owner had called unknown`);
    this.acquired(name, outcome);
  }

  /** By `adopt`: of an operation that may be uncertain only. */
  adopted(name: string, grant: Grant): void {
    const mayBeUncertain = this.isUnknown || (this.policy === 'uncertain' && this.isOpen);
    if (this.lastOwner !== name && !mayBeUncertain) this.fail(`${name} adopted what was not uncertain`);
    this.acquired(name, grant);
  }

  renewed(name: string): void {
    if (this.lastOwner !== name) this.fail(`${name} renewed what ${this.lastOwner} has`);
    this.hold(name);
  }

  saved(name: string, step: string, result: string): void {
    if (this.lastOwner !== name) this.fail(`the step of the zombie ${name} was kept`);
    if (!this.steps.has(step)) this.steps.set(step, result);
  }

  ended(name: string, settlement: Settlement): void {
    this.live.delete(name);
    if (this.lastOwner !== name) this.fail(`the write of the zombie ${name} took effect`);
    if (this.completed !== undefined) this.fail(`${name} wrote over a completed operation`);
    if (settlement.to === 'completed') this.completed = settlement.response;
    this.isOpen = settlement.to === 'uncertain';
    this.isUnknown = this.isOpen;
    if (!this.isOpen) this.over.add(name);
    if (settlement.to === 'completed') this.steps.clear();
  }

  /** By an operator, whose word is the last: no owner has a say after it. */
  resolved(resolution: Resolution): void {
    if (this.completed !== undefined) this.fail('an operator wrote over a completed operation');
    if (!this.isOpen || this.live.size > 0) this.fail('an operator resolved what was not uncertain');
    if (resolution.to === 'completed') this.completed = resolution.response;
    this.isOpen = false;
    this.isUnknown = false;
    this.steps.clear();
    this.live.clear();
    this.lastOwner = 'the operator';
  }

  isOwner(name: string): boolean {
    return this.lastOwner === name;
  }

  /** Whether its claim was completed or released. */
  hasEnded(name: string): boolean {
    return this.over.has(name);
  }

  fail(message: string): void {
    this.violation ??= message;
  }

  /** A completed operation stays what it was; an open one is still known to be so, however old it is. */
  async atTheEnd(isIssueNeeded = false): Promise<void> {
    this.check();
    await this.options.endLease(this.id);
    if (this.completed === undefined) this.options.growOld?.();
    const last = await this.store.begin(this.request('the-last', { requiresIssue: isIssueNeeded }));
    if (this.completed !== undefined) {
      if (last.outcome !== 'completed' || last.response !== this.completed) throw new Error(`lost: ${last.outcome}`);
      return;
    }
    const mustBeUncertain = this.isUnknown || (this.policy === 'uncertain' && this.isOpen);
    if (mustBeUncertain && last.outcome !== 'uncertain') throw new Error(`an open operation vanished: ${last.outcome}`);
    if (last.outcome === 'acquired' && last.fence <= this.lastFence) throw new Error('a fence came twice');
    const canBeUncertain = this.started.size > 0 || this.leftBehind.size > 0;
    if (last.outcome === 'uncertain' && !canBeUncertain) throw new Error('uncertain without a start');
  }

  private acquired(name: string, { fence, steps = {} }: Grant): void {
    if (this.completed !== undefined) this.fail(`${name} owns what is completed`);
    if (this.lastOwner === name ? fence !== this.lastFence : fence <= this.lastFence) {
      this.fail(`${name}: fence ${fence}`);
    }
    const kept = Object.fromEntries(this.steps);
    if (JSON.stringify(steps) !== JSON.stringify(kept)) {
      this.fail(`${name} was handed ${JSON.stringify(steps)} of ${JSON.stringify(kept)}`);
    }
    this.lastOwner = name;
    this.lastFence = fence;
    this.isOpen = true;
    this.over.delete(name);
    this.hold(name);
    if (!this.leftBehind.has(name)) this.started.add(name);
  }

  private hold(name: string): void {
    this.live.add(name);
    if (this.live.size > 1) this.fail(`two live owners: ${[...this.live].join(', ')}`);
  }
}
