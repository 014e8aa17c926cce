import type { LockHolder, LockState } from '../../lock-store.js';
import { blockersOf, isNodeOf, nodePrefix, queueOf, segmentOf } from './lock-node.js';
import type { LockParents } from './lock-parents.js';
import type { LockClaim, LockRecipe } from './lock-recipe.js';
import { codeOf, EPHEMERAL_SEQUENTIAL, tolerating, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

/** How often the parent may vanish between its making and its use: others remove it whenever it is empty. */
const MOST_ATTEMPTS = 10;

/**
 * Everybody who wants a key puts an ephemeral node with a number below it. The first has the lock, readers up to the
 * first writer have it together, permits as many as there are. Each watches only what stands in its way, so a release
 * wakes one. The token in the name tells whose a node is when the answer to its making was lost.
 */
export class SequentialRecipe implements LockRecipe {
  readonly abilities = { expires: false, shares: 'any', queues: true } as const;

  constructor(
    private readonly root: string,
    private readonly parents: LockParents,
  ) {}

  begin({ key }: LockClaim): void {
    this.parents.enter(this.parentOf(key));
  }

  finish({ key, path }: LockClaim, session: ZooKeeperSession | undefined): void {
    const parent = this.parentOf(key);
    if (path !== undefined && session?.isEnded) this.parents.leaveAfter(session.timeoutMs * 2, parent);
    else this.parents.leave(parent);
  }

  async step(session: ZooKeeperSession, claim: LockClaim): Promise<readonly string[]> {
    const names = await this.enter(session, claim);
    const parent = this.parentOf(claim.key);
    const queue = queueOf(names);
    const own = queue.find(({ name }) => `${parent}/${name}` === claim.path);
    if (own) return blockersOf(queue, own).map(({ name }) => `${parent}/${name}`);
    claim.path = undefined; // an operator took it away
    return this.step(session, claim);
  }

  async find(session: ZooKeeperSession, claim: LockClaim): Promise<string | undefined> {
    const parent = this.parentOf(claim.key);
    const names = await tolerating([ZK.noNode], session.connection.children(parent));
    const paths = (names ?? []).filter((name) => isNodeOf(name, claim.token)).map((name) => `${parent}/${name}`);
    if (paths.length <= 1) return paths[0];
    // An earlier session may have left one, which waiting for its end would not make one's own.
    const contents = paths.map((path) => tolerating([ZK.noNode], session.connection.read(path)));
    const owned = (await Promise.all(contents)).findIndex(
      (content) => content && session.owns(content.stat.ephemeralOwner),
    );
    return paths[Math.max(owned, 0)];
  }

  async remove(session: ZooKeeperSession, claim: LockClaim): Promise<boolean> {
    if (claim.path === undefined) return false;
    const removed = session.connection.remove(claim.path).then(() => true);
    return (await tolerating([ZK.noNode], removed)) ?? false;
  }

  async inspect(session: ZooKeeperSession, key: string): Promise<LockState> {
    const parent = this.parentOf(key);
    const queue = queueOf((await tolerating([ZK.noNode], session.connection.children(parent))) ?? []);
    const holders = queue.filter((node) => blockersOf(queue, node).length === 0);
    const last = holders.at(-1);
    const latest = last && (await tolerating([ZK.noNode], session.connection.read(`${parent}/${last.name}`)));
    return {
      holders: holders.map(({ token }): LockHolder => ({ token, remainingMs: undefined })),
      fence: latest?.stat.czxid.readBigInt64BE(),
      waiters: queue.length - holders.length,
    };
  }

  private parentOf(key: string): string {
    return `${this.root}/${segmentOf(key)}`;
  }

  /** The names of all who want the key, one of them the claim's. */
  private async enter(session: ZooKeeperSession, claim: LockClaim): Promise<readonly string[]> {
    const parent = this.parentOf(claim.key);
    if (claim.path !== undefined) {
      return (await tolerating([ZK.noNode], session.connection.children(parent))) ?? [];
    }
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
      const names = await this.create(session, claim, parent);
      if (names) return names;
      await this.parents.make(session, parent);
    }
    throw new Error(`${parent} was removed again and again`);
  }

  /** Everything travels together, and is executed in this order; undefined when the parent is missing. */
  private async create(
    session: ZooKeeperSession,
    claim: LockClaim,
    parent: string,
  ): Promise<readonly string[] | undefined> {
    const { connection } = session;
    const prefix = `${parent}/${nodePrefix(claim.token, claim.capacity)}`;
    this.parents.foresee(session, parent);
    const created = connection.create(prefix, claim.token, EPHEMERAL_SEQUENTIAL);
    const [path, names] = await Promise.allSettled([created, connection.children(parent)]);
    if (path.status === 'rejected' && codeOf(path.reason) === ZK.noNode) return undefined;
    claim.path = await created;
    if (names.status === 'rejected') throw names.reason;
    return names.value;
  }
}
