import type { AcquireRequest, StoreLoss } from '../../lock-store.js';
import { HeldLock } from './held-lock.js';
import type { LockClaim, LockRecipe } from './lock-recipe.js';
import { codeOf, type NodeContent, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

interface LockName {
  readonly key: string;
  readonly token: string;
}

/** What this store holds, and who is to be told when it does not any more. */
export class HeldLocks {
  private readonly locks = new Map<string, HeldLock>();

  constructor(private readonly recipe: LockRecipe) {}

  get(name: LockName): HeldLock | undefined {
    return this.locks.get(idOf(name));
  }

  /** The lock's end: it is released, or given up as lost. */
  delete(held: HeldLock): void {
    held.end();
    if (this.get(held.claim) === held) this.locks.delete(idOf(held.claim));
  }

  /**
   * Makes the claim a held lock if its node is there, carries its token and belongs to the session, as ZooKeeper says:
   * a node that was found by its name may be left over from an earlier session. Not if it is not wanted any more by then.
   */
  async take(
    session: ZooKeeperSession,
    claim: LockClaim,
    request: AcquireRequest,
    isWanted: () => boolean,
  ): Promise<HeldLock | undefined> {
    const { path } = claim;
    if (path === undefined) return undefined;
    let held: HeldLock | undefined;
    let isGone = false;
    const changed = (gone: boolean): void => {
      isGone ||= gone;
      if (held) this.touched(held, path, gone);
    };
    const content = await session.watches.read(path, changed);
    if (!isWanted()) {
      session.watches.forget(path, changed);
      return undefined;
    }
    if (isGone || !isOurs(content, session, claim)) {
      session.watches.forget(path, changed);
      claim.path = undefined;
      return undefined;
    }
    held = new HeldLock(claim, session, content.stat.czxid.readBigInt64BE(), request.onLost?.bind(request));
    this.locks.set(idOf(claim), held);
    return held;
  }

  lose(session: ZooKeeperSession, cause: StoreLoss): void {
    for (const held of [...this.locks.values()]) if (held.session === session) held.lose(cause);
  }

  /** The store is closed: what it holds goes with its session, and that is no loss to tell of. */
  clear(): void {
    for (const held of this.locks.values()) held.end();
    this.locks.clear();
  }

  private touched(held: HeldLock, path: string, isGone: boolean): void {
    if (this.get(held.claim) !== held) return;
    if (!isGone) void this.watchAgain(held, path);
    else {
      held.lose('stolen');
      this.delete(held);
      this.recipe.finish(held.claim, held.session);
    }
  }

  /** Somebody wrote to the node, which used the watch up. */
  private async watchAgain(held: HeldLock, path: string): Promise<void> {
    const { session } = held;
    try {
      const content = await session.watches.read(path, (isGone) => this.touched(held, path, isGone));
      if (!content) this.touched(held, path, true);
    } catch (cause) {
      if (!session.isEnded && codeOf(cause) === ZK.connectionLoss) return this.watchAgain(held, path);
      // The session has ended, and tells of the loss itself.
    }
  }
}

function isOurs(content: NodeContent | undefined, session: ZooKeeperSession, claim: LockClaim): content is NodeContent {
  return content !== undefined && session.owns(content.stat.ephemeralOwner) && content.data === claim.token;
}

function idOf({ key, token }: LockName): string {
  return `${token}\n${key}`;
}
