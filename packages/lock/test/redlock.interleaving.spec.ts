import { type Actor, explore } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';

/** What one node keeps for one lock. */
interface NodeModel {
  counter: number;
  owner: string | undefined;
}

interface Attempt {
  readonly name: string;
  votes: number[];
  fence: number;
  /** When the majority was complete: the order in which they own the lock. */
  wonAt: number;
  isGranted: boolean;
}

const MAJORITY = 2;

/**
 * Three nodes whose clocks tell nothing, so only the protocol can order the fences (C4). A node's vote may end at any
 * time: leases run out, clocks step, processes stand still.
 */
class QuorumModel {
  readonly nodes: NodeModel[] = [9, 0, 0].map((counter) => ({ counter, owner: undefined }));
  readonly attempts: Attempt[] = [];
  private wins = 0;

  constructor(private readonly isGuarded: boolean) {}

  holder(name: string): Actor {
    return async (step) => {
      const attempt: Attempt = { name, votes: [], fence: 0, wonAt: 0, isGranted: false };
      this.attempts.push(attempt);
      for (const index of this.nodes.keys()) {
        if (attempt.wonAt > 0) break;
        await step(`asks node ${index}`);
        this.vote(attempt, index);
      }
      if (attempt.wonAt === 0) return;
      let raised = 0;
      for (const index of this.nodes.keys()) {
        if (raised === MAJORITY) break;
        await step(`raises node ${index}`);
        if (this.raise(attempt, index)) raised += 1;
      }
      attempt.isGranted = raised === MAJORITY;
    };
  }

  /** The leases of all nodes end, one after another. */
  clock(): Actor {
    return async (step) => {
      for (const [index, node] of this.nodes.entries()) {
        await step(`lease at node ${index} ends`);
        node.owner = undefined;
      }
    };
  }

  /** An older owner must never have the greater fence: its writes would pass where the newer one's are refused. */
  check(): void {
    const granted = this.attempts.filter(({ isGranted }) => isGranted).sort((a, b) => a.wonAt - b.wonAt);
    for (const [index, newer] of granted.entries()) {
      const older = granted[index - 1];
      if (older && older.fence >= newer.fence) {
        throw new Error(`${older.name} has ${older.fence}, and ${newer.name} after it ${newer.fence}`);
      }
    }
  }

  private vote(attempt: Attempt, index: number): void {
    const node = this.nodes[index];
    if (!node || node.owner !== undefined) return;
    node.owner = attempt.name;
    node.counter += 1;
    attempt.votes.push(index);
    attempt.fence = Math.max(attempt.fence, node.counter);
    if (attempt.votes.length !== MAJORITY) return;
    this.wins += 1;
    attempt.wonAt = this.wins;
  }

  private raise({ name, fence }: Attempt, index: number): boolean {
    const node = this.nodes[index];
    if (!node || (this.isGuarded && node.owner !== name)) return false;
    node.counter = Math.max(node.counter, fence);
    return true;
  }
}

function exploration(isGuarded: boolean) {
  return {
    name: `fences of a quorum, ${isGuarded ? 'guarded' : 'unguarded'}`,
    setup: () => new QuorumModel(isGuarded),
    actors: (model: QuorumModel) => ({ a: model.holder('a'), b: model.holder('b'), clock: model.clock() }),
    invariant: (model: QuorumModel) => model.check(),
    finalInvariant: (model: QuorumModel) => model.check(),
    maxSchedules: 1_500,
    randomSchedules: 1_500,
  };
}

describe('fences of a quorum', () => {
  it('rise in the order of ownership when a node raises its counter only for its owner (C4)', async () => {
    const report = await explore(exploration(true));
    expect(report.schedules).toBeGreaterThan(1_000);
  });

  it('would not rise if it raised it for anybody: the control', async () => {
    await expect(explore(exploration(false))).rejects.toThrow(/a has 10, and b after it/);
  });
});
