import type { Ballot } from './ballot.js';
import { YesNoPoll } from './poll.js';
import type { RedlockNode } from './redlock-node.js';
import type { LockKeys } from './redlock-scripts.js';

/** `refused`: a majority of votes is no longer ours; `errors`: no majority could be told. */
export type Agreement<Fence> =
  | { readonly status: 'agreed'; readonly fence: Fence }
  | { readonly status: 'refused' }
  | { readonly status: 'failed'; readonly errors: readonly unknown[] };

/** How the nodes agree on the fence of a ballot that was won. */
export interface Fencing<Fence extends bigint | undefined> {
  agree(
    ballot: Ballot,
    keys: LockKeys,
    withinMs: number,
    silence: () => unknown,
  ): Agreement<Fence> | Promise<Agreement<Fence>>;
}

const NO_FENCE: Agreement<undefined> = { status: 'agreed', fence: undefined };

/** The counters of the nodes differ, so without a second fan-out none of them is a fence. */
export const unfenced: Fencing<undefined> = { agree: () => NO_FENCE };

/**
 * The fence is the greatest counter of the majority that voted, and becomes the least counter of a majority that still
 * votes for this round. Whoever wins later has one of these nodes among its own, after this step; so its fence is
 * greater. A node that has changed its vote refuses: raising its counter would let an older holder pass a newer one.
 */
export class DurableFencing implements Fencing<bigint> {
  constructor(private readonly nodes: readonly RedlockNode[]) {}

  async agree(ballot: Ballot, keys: LockKeys, withinMs: number, silence: () => unknown): Promise<Agreement<bigint>> {
    const { fence, vote } = ballot;
    const poll = new YesNoPoll<boolean>(this.nodes.length, (isRaised) => isRaised);
    for (const [index, node] of this.nodes.entries()) {
      if (ballot.replies[index]?.status === 'busy') poll.answer(index, false);
      else node.scripts.raise.call({ keys, vote, fence }, poll, index);
    }
    poll.concludeWithin(withinMs);
    await poll.concluded;
    if (poll.result) return { status: 'agreed', fence };
    return poll.result === false ? { status: 'refused' } : { status: 'failed', errors: poll.failures(silence) };
  }
}
