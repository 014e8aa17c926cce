import { StoreUnavailableError } from '@lockstep/core';
import { Poll } from './poll.js';
import type { RedlockNode } from './redlock-node.js';
import type { AcquireReply, VoteRequest } from './redlock-scripts.js';

/**
 * What came of one round: `won`; `held`: one other has a majority; `split`: a majority answered, but nobody is known to
 * have one; `unreachable`: not even a majority answered.
 */
export type Verdict = 'won' | 'held' | 'split' | 'unreachable';

/** How often, per node, a request may be refused as late, each time with a better idea of the clocks. */
const MOST_LATE = 2;

/** One round of asking all nodes for their vote. */
export class Ballot extends Poll<AcquireReply> {
  /** Whether its votes have been given back. */
  isAnnulled = false;
  private votes = 0;
  private others: Map<string, number> | undefined;
  private late = 0;
  private askAgain: (index: number) => void = () => undefined;
  private busy = 0;

  constructor(
    size: number,
    /** `token|round|` */
    readonly vote: string,
    /** Monotonic, before anything was sent. */
    readonly sentAt: number,
  ) {
    super(size);
  }

  /** Asks all nodes. One whose clock is not known well enough is asked again. */
  hold(nodes: readonly RedlockNode[], request: VoteRequest): void {
    this.askAgain = (index) => nodes[index]?.vote(request, this, index);
    for (let index = 0; index < this.size; index += 1) nodes[index]?.vote(request, this, index);
  }

  override answer(index: number, reply: AcquireReply): void {
    if (reply.status !== 'late') {
      super.answer(index, reply);
      return;
    }
    this.late += 1;
    if (this.late <= MOST_LATE * this.size) this.askAgain(index);
    else this.fail(index, tooLate());
  }

  get verdict(): Verdict {
    if (this.votes >= this.majority) return 'won';
    if (this.strongestOther() >= this.majority) return 'held';
    return this.votes + this.busy >= this.majority ? 'split' : 'unreachable';
  }

  /** Greatest of the fences of those who voted. */
  get fence(): bigint {
    let greatest = 0n;
    for (const reply of this.replies) {
      if (reply?.status === 'voted' && reply.fence > greatest) greatest = reply.fence;
    }
    return greatest;
  }

  /** When a majority of votes will be free, if nobody extends or releases: ms from the answers on. */
  get remainingMs(): number {
    const rests: number[] = [];
    for (const reply of this.replies) if (reply?.status === 'busy') rests.push(reply.remainingMs);
    rests.sort((a, b) => a - b);
    return rests[this.majority - this.votes - 1] ?? rests.at(-1) ?? 0;
  }

  protected tally(reply: AcquireReply): void {
    if (reply.status === 'voted') this.votes += 1;
    if (reply.status !== 'busy') return;
    this.busy += 1;
    this.others ??= new Map();
    this.others.set(reply.owner, (this.others.get(reply.owner) ?? 0) + 1);
  }

  protected isConclusive(): boolean {
    const { pending, majority } = this;
    if (pending === 0 || this.votes >= majority) return true;
    const strongest = this.strongestOther();
    if (strongest >= majority) return true;
    return this.votes + pending < majority && strongest + pending < majority && this.isReachKnown();
  }

  private isReachKnown(): boolean {
    const answered = this.votes + this.busy;
    return answered >= this.majority || answered + this.pending < this.majority;
  }

  private strongestOther(): number {
    let strongest = 0;
    if (!this.others) return 0;
    for (const votes of this.others.values()) if (votes > strongest) strongest = votes;
    return strongest;
  }
}

function tooLate(): StoreUnavailableError {
  const cause = new Error('the request reached the node too late');
  return new StoreUnavailableError({ store: 'redlock', operation: 'lock.acquire', outcome: 'not-applied', cause });
}
