import type { LockState } from '../../lock-store.js';
import { Poll } from './poll.js';
import { noMajority } from './redlock.errors.js';
import type { RedlockNode } from './redlock-node.js';
import type { LockKeys, Vote } from './redlock-scripts.js';

/** Asks whose the votes are, until somebody has a majority or nobody can. */
class VoteCount extends Poll<Vote> {
  private readonly votes = new Map<string, Vote[]>();
  private answered = 0;

  get holder(): readonly Vote[] | undefined {
    for (const votes of this.votes.values()) if (votes.length >= this.majority) return votes;
    return undefined;
  }

  get isMajorityHeard(): boolean {
    return this.answered >= this.majority;
  }

  protected tally(vote: Vote): void {
    this.answered += 1;
    if (vote.token === '') return;
    const votes = this.votes.get(vote.token) ?? [];
    votes.push(vote);
    this.votes.set(vote.token, votes);
  }

  protected isConclusive(): boolean {
    if (this.pending === 0 || this.holder) return true;
    const most = Math.max(0, ...[...this.votes.values()].map(({ length }) => length));
    return this.isMajorityHeard && most + this.pending < this.majority;
  }
}

/**
 * The view of a majority: a token with fewer votes holds nothing. Its lease ends for all when so many votes have ended
 * that no majority is left.
 *
 * @throws StoreUnavailableError when no majority answers
 */
export async function inspectVotes(nodes: readonly RedlockNode[], keys: LockKeys): Promise<LockState> {
  const count = new VoteCount(nodes.length);
  for (const [index, { scripts }] of nodes.entries()) scripts.inspect.call(keys, count, index);
  await count.concluded;
  const { holder } = count;
  if (!holder && !count.isMajorityHeard) throw noMajority('lock.inspect', nodes, count.failures());
  if (!holder) return { holders: [], fence: undefined, waiters: 0 };
  const rests = holder.map(({ remainingMs }) => remainingMs).sort((a, b) => b - a);
  const token = holder[0]?.token ?? '';
  const fence = holder.find((vote) => vote.fence !== undefined)?.fence;
  return { holders: [{ token, remainingMs: rests[count.majority - 1] }], fence, waiters: 0 };
}
