import type { LockState } from '../../lock-store.js';
import { nodePrefix, segmentOf } from './lock-node.js';
import type { LockParents } from './lock-parents.js';
import type { LockClaim, LockRecipe } from './lock-recipe.js';
import { codeOf, tolerating, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

const MOST_ATTEMPTS = 10;

/**
 * Whoever makes the one ephemeral node of the key has the lock; the others watch it and all try again when it is gone.
 * A second node, named by the token, is made and removed in one step with the first: ZooKeeper removes a node by its
 * name, and a repeated removal would otherwise take the lock of whoever came next.
 */
export class EphemeralRecipe implements LockRecipe {
  readonly abilities = { expires: false, shares: 'none', queues: false } as const;

  constructor(
    private readonly root: string,
    private readonly parents: LockParents,
  ) {}

  begin(): void {
    // nothing is kept for a key
  }

  finish(): void {
    // nothing is kept for a key
  }

  async step(session: ZooKeeperSession, claim: LockClaim): Promise<readonly string[]> {
    if (claim.path !== undefined) return [];
    const path = this.pathOf(claim.key);
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
      const code = await this.create(session, claim, path);
      if (code === ZK.nodeExists) return [path];
      if (code === undefined) return [];
      await this.parents.makeRoot(session);
    }
    throw new Error(`${this.root} was removed again and again`);
  }

  async find(session: ZooKeeperSession, claim: LockClaim): Promise<string | undefined> {
    const path = this.pathOf(claim.key);
    const content = await tolerating([ZK.noNode], session.connection.read(path));
    return content?.data === claim.token ? path : undefined;
  }

  async remove(session: ZooKeeperSession, claim: LockClaim): Promise<boolean> {
    const removed = session.connection.removeBoth([this.ticketOf(claim), this.pathOf(claim.key)]).then(() => true);
    return (await tolerating([ZK.noNode], removed)) ?? false;
  }

  async inspect(session: ZooKeeperSession, key: string): Promise<LockState> {
    const content = await tolerating([ZK.noNode], session.connection.read(this.pathOf(key)));
    if (!content) return { holders: [], fence: undefined, waiters: 0 };
    const fence = content.stat.czxid.readBigInt64BE();
    return { holders: [{ token: content.data, remainingMs: undefined }], fence, waiters: 0 };
  }

  /** The code of the refusal; undefined when the claim has its node now. */
  private async create(session: ZooKeeperSession, claim: LockClaim, path: string): Promise<number | undefined> {
    try {
      await session.connection.createBoth([this.ticketOf(claim), path], claim.token);
      claim.path = path;
      return undefined;
    } catch (error) {
      const code = codeOf(error);
      if (code !== ZK.nodeExists && code !== ZK.noNode) throw error;
      return code;
    }
  }

  private pathOf(key: string): string {
    return `${this.root}/${segmentOf(key)}`;
  }

  private ticketOf({ key, token }: LockClaim): string {
    return `${this.pathOf(key)}~${nodePrefix(token, 1)}`;
  }
}
