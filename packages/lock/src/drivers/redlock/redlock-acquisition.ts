import { type Incidents, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { AcquireRequest, Busy, Grant } from '../../lock-store.js';
import { Ballot } from './ballot.js';
import type { Fencing } from './fencing.js';
import { isOutcomeUnknown, noMajority } from './redlock.errors.js';
import type { RedlockNode } from './redlock-node.js';
import type { RedlockRevocations } from './redlock-revocations.js';
import type { LockKeys } from './redlock-scripts.js';
import { UnlockHints } from './unlock-hints.js';

/** What all acquisitions of a store share. */
export interface AcquisitionHost<Fence extends bigint | undefined> {
  readonly nodes: readonly RedlockNode[];
  readonly commandTimeoutMs: number;
  readonly retryDelayMs: number;
  readonly fencing: Fencing<Fence>;
  readonly revocations: RedlockRevocations;
  readonly incidents: Incidents;
  /** Those under way, so that closing the store can end them. */
  readonly running: Set<{ giveUp(): void }>;
  /** Notes that a request of a granted token may still arrive at a node; its release must outlast that. */
  noteLateCopy(token: string, node: RedlockNode, notAfterMs: number): void;
}

/** How often a split vote is tried by one that does not wait. */
const MOST_SPLITS = 3;
/** No node may cost more than this share of the lease: what is spent on waiting for it is not left to the holder. */
const PATIENCE = 1 / 4;
const BUSY: Busy = { status: 'busy', remainingMs: 0 };

/** Clocks of the nodes may run faster than ours by up to 1 %; the constant covers rounding to whole milliseconds. */
function driftMs(ttlMs: number): number {
  return ttlMs * 0.01 + 2;
}

/**
 * One wish for a lock, in rounds of asking all nodes at once.
 *
 * ```
 * asking --majority in time--> (fence agreed on) --> granted
 *        --held by another--> wait over: busy | else waiting --told | lease end--> asking
 *        --split, or granted too late--> votes given back --random pause--> asking | wait over: busy, unavailable
 *        --no majority answers--> votes given back --> unavailable | answers unknown and wait left: asking
 * any    --give up (signal, close)--> votes given back, also those that come later
 * ```
 * The vote carries the round, so that the clean-up of one can never hit the votes of a later one, however late it comes.
 */
export class RedlockAcquisition<Fence extends bigint | undefined> {
  private readonly giveUpAt: number;
  private readonly patienceMs: number;
  private round = 0;
  private splits = 0;
  private isHearing = false;
  private isGivenUp = false;
  private ballot: Ballot | undefined;
  private hints: UnlockHints | undefined;

  constructor(
    private readonly keys: LockKeys,
    private readonly request: AcquireRequest,
    private readonly host: AcquisitionHost<Fence>,
  ) {
    this.giveUpAt = monotonicMs() + request.waitMs;
    // A node without a connection says so a little after the command timeout; that is worth hearing.
    this.patienceMs = Math.min(request.ttlMs * PATIENCE, host.commandTimeoutMs * 1.25);
  }

  async run(): Promise<Grant<Fence> | Busy> {
    this.host.running.add(this);
    try {
      for (;;) {
        const ballot = this.ask();
        await ballot.concluded;
        if (this.isGivenUp) return this.concede(ballot);
        const outcome = await this.evaluate(ballot);
        if (this.isGivenUp) return this.concede(ballot);
        if (outcome) return outcome;
      }
    } finally {
      this.host.running.delete(this);
      this.hints?.leave();
    }
  }

  /** Stops; whatever is in flight is taken back, and `run()` ends as busy. */
  giveUp(): void {
    this.isGivenUp = true;
    if (this.ballot) this.annul(this.ballot);
    this.hints?.rouse();
  }

  private ask(): Ballot {
    const { nodes } = this.host;
    const { token, ttlMs } = this.request;
    this.round += 1;
    this.hints?.clear();
    const ballot = new Ballot(nodes.length, `${token}|${this.round}|`, monotonicMs());
    this.ballot = ballot;
    const { keys, isHearing: awaitsPush, executionMs: withinMs } = this;
    const request = { keys, vote: `${ballot.vote}|`, ttlMs, awaitsPush, withinMs };
    ballot.hold(nodes, request);
    ballot.concludeWithin(this.patienceMs);
    return ballot;
  }

  /** How old a request may be when a node executes it. */
  private get executionMs(): number {
    return Math.min(this.patienceMs, this.host.commandTimeoutMs);
  }

  /** Undefined when there is another round. Returns after the pause before it. */
  private async evaluate(ballot: Ballot): Promise<Grant<Fence> | Busy | undefined> {
    const { verdict } = ballot;
    if (verdict === 'won') return this.confirm(ballot);
    this.annul(ballot);
    if (verdict === 'unreachable') return this.retryUnreachable(ballot.failures(this.silence));
    if (verdict === 'held') return this.waitForRelease(ballot);
    return this.retrySplit(ballot.remainingMs);
  }

  private async confirm(ballot: Ballot): Promise<Grant<Fence> | Busy | undefined> {
    const { fencing } = this.host;
    const agreement = await fencing.agree(ballot, this.keys, this.patienceMs, this.silence);
    if (this.isGivenUp) return undefined;
    const deadline = ballot.sentAt + this.request.ttlMs;
    const isInTime = monotonicMs() < deadline - driftMs(this.request.ttlMs);
    if (agreement.status === 'agreed' && isInTime) {
      this.noteLateCopies(ballot);
      return { status: 'granted', fence: agreement.fence, deadline };
    }
    this.annul(ballot);
    if (agreement.status === 'failed') return this.retryUnreachable(agreement.errors);
    if (agreement.status === 'refused') return this.retrySplit(0);
    return this.retryUnreachable(this.host.nodes.map(() => tooLate()));
  }

  private async waitForRelease({ remainingMs }: Ballot): Promise<Busy | undefined> {
    const leftMs = this.giveUpAt - monotonicMs();
    if (leftMs <= 0) return { status: 'busy', remainingMs };
    const hints = this.openHints();
    if (!this.isHearing) {
      this.isHearing = true;
      await hints.subscribe();
      return undefined;
    }
    // Those who wait for the same lease would split the vote at its end.
    const untilMs = remainingMs + 1 + this.randomPauseMs();
    await this.pause(Math.min(untilMs, leftMs, hints.isMajorityHeard ? untilMs : this.host.commandTimeoutMs));
    return undefined;
  }

  private async retrySplit(remainingMs: number): Promise<Busy | undefined> {
    this.splits += 1;
    const leftMs = this.giveUpAt - monotonicMs();
    if (leftMs <= 0 && this.splits >= MOST_SPLITS) return { status: 'busy', remainingMs };
    await this.pause(this.randomPauseMs());
    return undefined;
  }

  private async retryUnreachable(errors: readonly unknown[]): Promise<undefined> {
    const error = noMajority('lock.acquire', this.host.nodes, errors);
    const isOver = this.isGivenUp || monotonicMs() >= this.giveUpAt;
    if (isOver || !isOutcomeUnknown(error)) throw error;
    await this.pause(this.randomPauseMs());
    return undefined;
  }

  /** Until told of a release, or given up. */
  private pause(ms: number): Promise<void> {
    return this.isGivenUp ? Promise.resolve() : this.openHints().sleep(ms);
  }

  /** Most acquisitions need none. */
  private openHints(): UnlockHints {
    const { nodes, retryDelayMs, incidents } = this.host;
    this.hints ??= new UnlockHints(nodes, this.keys.lock[0], retryDelayMs, incidents);
    return this.hints;
  }

  private randomPauseMs(): number {
    return Math.random() * this.host.retryDelayMs;
  }

  /** Gives back every vote of the round, also those that come later. */
  private annul(ballot: Ballot): void {
    if (ballot.isAnnulled) return;
    ballot.isAnnulled = true;
    ballot.forEachSettled((index) => {
      const reply = ballot.replies[index];
      if (reply?.status === 'voted' || (!reply && isOutcomeUnknown(ballot.errorAt(index)))) this.revoke(ballot, index);
    });
  }

  private revoke({ vote, replies }: Ballot, index: number): void {
    const node = this.host.nodes[index];
    if (!node) return;
    this.host.revocations.add({
      node,
      keys: this.keys,
      vote,
      notAfterMs: replies[index] ? 0 : node.notAfterMs(this.executionMs),
      uselessAt: monotonicMs() + this.executionMs + this.request.ttlMs,
    });
  }

  private noteLateCopies(ballot: Ballot): void {
    ballot.forEachSettled((index) => {
      const node = this.host.nodes[index];
      if (!node || ballot.replies[index] || !isOutcomeUnknown(ballot.errorAt(index))) return;
      this.host.noteLateCopy(this.request.token, node, node.notAfterMs(this.executionMs));
    });
  }

  private concede(ballot: Ballot): Busy {
    this.annul(ballot);
    return BUSY;
  }

  private readonly silence = (): unknown =>
    new StoreUnavailableError({
      store: 'redlock',
      operation: 'lock.acquire',
      outcome: 'unknown',
      cause: new Error(`no answer within ${Math.round(this.patienceMs)} ms`),
    });
}

function tooLate(): unknown {
  return new StoreUnavailableError({
    store: 'redlock',
    operation: 'lock.acquire',
    outcome: 'unknown',
    cause: new Error('the majority came after the lease'),
  });
}
