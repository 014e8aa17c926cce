import type { Incidents } from '@lockstep/core';
import type { LockClaim, LockRecipe } from './lock-recipe.js';
import { codeOf, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

/**
 * Removes the nodes of claims that were given up while it was not known whether they have one. The requests wait in the
 * client until there is a connection again; with the end of the session ZooKeeper removes the nodes itself.
 */
export class AbandonedClaims {
  private readonly running = new Map<string, Promise<void>>();

  constructor(
    private readonly recipe: LockRecipe,
    private readonly incidents: Incidents,
  ) {}

  /** @param before what was sent for the claim and is not answered yet: it may still make the node */
  add(session: ZooKeeperSession, claim: LockClaim, before: Promise<unknown>): void {
    const run = this.abandon(session, claim, before).finally(() => {
      this.recipe.finish(claim, session);
      if (this.running.get(claim.token) === run) this.running.delete(claim.token);
    });
    this.running.set(claim.token, run);
  }

  /** Resolves once nothing is being removed for the token: who asks again must not lose the node to the removal. */
  async done(token: string): Promise<void> {
    await this.running.get(token);
  }

  private async abandon(session: ZooKeeperSession, claim: LockClaim, before: Promise<unknown>): Promise<void> {
    await Promise.allSettled([before]);
    while (!session.isEnded) {
      try {
        if (claim.path === undefined) {
          await session.confirm(); // the server may be another one now, which does not know yet what was made
          claim.path = await this.recipe.find(session, claim);
        }
        if (claim.path !== undefined) await this.recipe.remove(session, claim);
        return;
      } catch (cause) {
        if (codeOf(cause) !== ZK.connectionLoss) return this.report(session, cause);
      }
    }
  }

  private report(session: ZooKeeperSession, cause: unknown): void {
    if (session.isEnded) return;
    const message = 'the node of a request that was given up could not be removed; it ends with the session';
    this.incidents.report({ code: 'LOCK_NODE_NOT_REMOVED', source: 'lock.zookeeper', message, cause });
  }
}
