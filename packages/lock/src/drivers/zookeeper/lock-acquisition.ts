import { monotonicMs } from '@lockstep/core';
import type { AcquireRequest, Busy, Grant } from '../../lock-store.js';
import type { AbandonedClaims } from './abandoned-claims.js';
import type { HeldLocks } from './held-locks.js';
import type { LockClaim, LockRecipe } from './lock-recipe.js';
import { unavailable, within } from './within.js';
import { codeOf, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';
import type { ZooKeeperSessions } from './zookeeper-sessions.js';

/** What an acquisition needs of its store. */
export interface AcquisitionHost {
  readonly recipe: LockRecipe;
  readonly sessions: ZooKeeperSessions;
  readonly held: HeldLocks;
  readonly abandoned: AbandonedClaims;
  readonly commandTimeoutMs: number;
}

const OPERATION = 'lock.acquire';
const LONGEST_TIMER_MS = 2_147_483_647;

/**
 * ```
 * stepping --nothing in the way, node verified--> granted
 *          --others in the way--> waiting --one is gone | session in trouble--> stepping
 *                                         --wait over | given up--> leaving --node removed--> busy
 * any --no answer in time--> abandoned (StoreUnavailableError; the node is removed in the background)
 * ```
 */
export class LockAcquisition {
  private readonly claim: LockClaim;
  private readonly giveUpAt: number;
  private session: ZooKeeperSession | undefined;
  /** What was sent last for the claim. */
  private sent: Promise<unknown> = Promise.resolve();
  /** Whether a node may be there though its path is not known. */
  private isAmbiguous: boolean;
  private isGivenUp = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly request: AcquireRequest,
    private readonly host: AcquisitionHost,
    /** Whether an earlier request of the same token may have left a node. */
    isRepeated: boolean,
  ) {
    const { key, token, capacity, waitMs } = request;
    this.claim = { key, token, capacity, path: undefined };
    this.giveUpAt = monotonicMs() + waitMs;
    this.isAmbiguous = isRepeated;
    host.recipe.begin(this.claim);
  }

  /** @throws StoreUnavailableError `not-applied`: what may still be made is removed again */
  async run(): Promise<Grant | Busy> {
    try {
      return (await this.attempt()) ?? (await this.leave());
    } catch (cause) {
      this.isGivenUp = true;
      if (this.session) this.host.abandoned.add(this.session, this.claim, this.sent);
      else this.host.recipe.finish(this.claim, undefined);
      throw unavailable(OPERATION, cause, 'not-applied');
    }
  }

  /** Ends the waiting. */
  giveUp(): void {
    this.isGivenUp = true;
    this.wake();
  }

  /** Lets it look again, because what it waits for may never come: its session is in trouble. */
  lookAgain(): void {
    this.wake();
  }

  /** The grant, or undefined when the wait is over. */
  private async attempt(): Promise<Grant | undefined> {
    while (!this.isGivenUp) {
      const isLast = monotonicMs() >= this.giveUpAt;
      const blockers = await this.step();
      if (this.isGivenUp) return undefined;
      const grant = blockers.length === 0 ? await this.take() : undefined;
      if (grant) return grant;
      if (isLast && blockers.length > 0) return undefined;
      await this.waitFor(blockers);
    }
    return undefined;
  }

  /** One step of the recipe; repeated when the connection was lost on the way. */
  private async step(): Promise<readonly string[]> {
    const until = this.commandEnd();
    for (;;) {
      const session = await this.host.sessions.live(until, OPERATION);
      try {
        return await this.bounded(this.stepOn(session), until);
      } catch (error) {
        if (codeOf(error) !== ZK.connectionLoss) throw error;
        this.isAmbiguous = true;
      }
    }
  }

  private async stepOn(session: ZooKeeperSession): Promise<readonly string[]> {
    const { recipe } = this.host;
    // What the last session had is gone with it, or goes before this one can be granted anything.
    if (this.session && this.session !== session) this.claim.path = undefined;
    this.session = session;
    if (this.isAmbiguous && this.claim.path === undefined) {
      // The server may be another one now, and has to know first what the last one did.
      await session.confirm();
      this.claim.path = await recipe.find(session, this.claim);
    }
    this.isAmbiguous = false;
    return recipe.step(session, this.claim);
  }

  private async take(): Promise<Grant | undefined> {
    const { session, claim, host, request } = this;
    if (!session) return undefined;
    const held = await this.unlessLost(host.held.take(session, claim, request, () => !this.isGivenUp));
    if (!held) return undefined;
    if (session.isLive && !held.loss) {
      return { status: 'granted', fence: held.fence, deadline: session.sureUntil };
    }
    host.held.delete(held);
    return undefined;
  }

  private async waitFor(blockers: readonly string[]): Promise<void> {
    const { session } = this;
    if (!session || blockers.length === 0) return;
    const woken = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    const listener = (): void => this.wake();
    const { watches } = session;
    const leftMs = Math.max(this.giveUpAt - monotonicMs(), 0);
    const timer = setTimeout(listener, Math.min(leftMs, LONGEST_TIMER_MS));
    try {
      const listening = await this.unlessLost(Promise.all(blockers.map((path) => watches.listen(path, listener))));
      const isReady = session.isLive && !this.isGivenUp && listening?.every((isThere) => isThere);
      if (isReady) await woken;
    } finally {
      clearTimeout(timer);
      for (const path of blockers) watches.forget(path, listener);
    }
  }

  private async leave(): Promise<Busy> {
    const { session, claim, host } = this;
    const until = this.commandEnd();
    while (session && !session.isEnded && (claim.path !== undefined || this.isAmbiguous)) {
      const removed = await this.unlessLost(this.remove(session), until);
      if (removed) break;
    }
    host.recipe.finish(claim, session);
    return { status: 'busy', remainingMs: 0 };
  }

  private async remove(session: ZooKeeperSession): Promise<true> {
    const { claim, host } = this;
    if (this.isAmbiguous && claim.path === undefined) {
      await session.confirm();
      claim.path = await host.recipe.find(session, claim);
    }
    if (claim.path !== undefined) await host.recipe.remove(session, claim);
    return true;
  }

  /** Resolves to undefined when the connection was lost on the way. */
  private async unlessLost<T>(work: Promise<T>, until = this.commandEnd()): Promise<T | undefined> {
    try {
      return await this.bounded(work, until);
    } catch (error) {
      if (codeOf(error) === ZK.connectionLoss) return undefined;
      throw error;
    }
  }

  private bounded<T>(work: Promise<T>, until: number): Promise<T> {
    this.sent = work;
    return within(until, work);
  }

  private commandEnd(): number {
    return monotonicMs() + this.host.commandTimeoutMs;
  }
}
