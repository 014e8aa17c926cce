import { StoreUnavailableError } from '@lockstep/core';
import { asStoreError, PgTimeoutError } from '@lockstep/sql/postgres';
import type { Busy, ExtendOutcome, ExtendRequest, Grant, ReleaseOutcome } from '../../lock-store.js';
import type { HeldLock, HeldLocks } from './held-locks.js';
import { KeyGate } from './key-gate.js';
import type { LockSession } from './lock-session.js';
import type { LockSessions } from './lock-sessions.js';
import { BUSY, type LockWish } from './lock-wish.js';

export interface KeeperHost {
  readonly sessions: LockSessions;
  readonly held: HeldLocks;
  readonly commandTimeoutMs: number;
  /** Whether a newcomer would overtake one of this process that waits for a session. */
  hasQueued(key: bigint): boolean;
  /** A session may have become free, and `key` may be. */
  onFree(key: bigint): void;
}

/**
 * Takes, extends and gives back. What is known of a key, what is sent because of it, and what is noted of the answer is
 * one step for each key: no session is ever asked for a lock that it has.
 */
export class LockKeeper {
  private readonly gate = new KeyGate();

  constructor(private readonly host: KeeperHost) {}

  /** Asks once, without waiting. @throws StoreUnavailableError */
  take(wish: LockWish, isNewcomer: boolean): Promise<Grant | Busy> {
    return this.enter(wish.key, 'lock.acquire', () => this.takeAlone(wish, isNewcomer));
  }

  /** Notes a lock that `session` has got. @throws StoreUnavailableError when the session has ended meanwhile */
  grant(wish: LockWish, session: LockSession, fence: string, deadline: number): Grant {
    if (session.isEnded) {
      const cause = new Error('the session that got the lock has ended');
      throw new StoreUnavailableError({ store: 'postgres', operation: 'lock.acquire', outcome: 'not-applied', cause });
    }
    const { key, isShared, request } = wish;
    const onLost = request.onLost?.bind(request);
    const hold: HeldLock = { key, token: request.token, isShared, fence: BigInt(fence), session, onLost };
    this.host.held.add(hold);
    return { status: 'granted', fence: hold.fence, deadline };
  }

  async release(key: bigint, token: string): Promise<ReleaseOutcome> {
    try {
      return await this.enter(key, 'lock.release', () => this.releaseAlone(key, token));
    } catch (error) {
      return { status: 'failed', error };
    }
  }

  /** Gives back what `session` has of `key` because an operator wants it; those who held it are told. */
  takeBack(session: LockSession, key: bigint): Promise<void> {
    return this.enter(key, 'lock.release', async () => {
      const holds = this.host.held.carriedBy(session, key);
      const [first] = holds;
      if (!first) return;
      for (const hold of holds) this.host.held.lose(hold, 'stolen');
      await this.unlock(first);
    });
  }

  /** One statement for each session, however many leases it carries. */
  async extend(requests: readonly ExtendRequest[], keys: readonly bigint[]): Promise<readonly ExtendOutcome[]> {
    const holds = requests.map(({ token }, index) => this.host.held.find(keys[index] ?? 0n, token));
    const longest = new Map<LockSession, number>();
    for (const [index, { ttlMs }] of requests.entries()) {
      const session = holds[index]?.session;
      if (session) longest.set(session, Math.max(longest.get(session) ?? 0, ttlMs));
    }
    const alive = new Map([...longest].map(([session, ttlMs]) => [session, this.ping(session, ttlMs)]));
    return Promise.all(
      requests.map(async ({ ttlMs }, index): Promise<ExtendOutcome> => {
        const hold = holds[index];
        if (!hold) return { status: 'lost', cause: 'stolen' };
        try {
          return { status: 'extended', deadline: ((await alive.get(hold.session)) ?? 0) + ttlMs };
        } catch (error) {
          return hold.session.isEnded ? { status: 'lost', cause: 'session' } : { status: 'failed', error };
        }
      }),
    );
  }

  private async takeAlone(wish: LockWish, isNewcomer: boolean): Promise<Grant | Busy> {
    const { sessions, held } = this.host;
    const { key, isShared } = wish;
    const { token, ttlMs, fairness } = wish.request;
    const own = held.find(key, token);
    if (own) return { status: 'granted', fence: own.fence, deadline: (await this.ping(own.session, ttlMs)) + ttlMs };
    const mustQueue = isNewcomer && fairness === 'fifo' && this.host.hasQueued(key);
    if (wish.isGivenUp || mustQueue || held.of(key).some((other) => !isShared || !other.isShared)) return BUSY;
    const session = await sessions.shared();
    await session.cover(ttlMs);
    const hasIt = held.carriedBy(session, key).length > 0;
    const kind = !isShared ? 'take' : hasIt ? 'join' : 'take-shared';
    const { answer, sentAt } = await session.operate(kind, key, 'lock.acquire');
    return answer === null ? BUSY : this.grant(wish, session, answer, sentAt + ttlMs);
  }

  private async releaseAlone(key: bigint, token: string): Promise<ReleaseOutcome> {
    const hold = this.host.held.find(key, token);
    if (!hold) return { status: 'not-held' };
    // First: whose lock is given back must not hear that it was lost.
    this.host.held.remove(hold);
    try {
      return { status: (await this.unlock(hold)) ? 'released' : 'not-held' };
    } catch (error) {
      return hold.session.isEnded ? { status: 'not-held' } : { status: 'failed', error };
    }
  }

  /** False when the server says that the session did not have the lock. */
  private async unlock({ session, key, isShared }: HeldLock): Promise<boolean> {
    try {
      if (this.host.held.carriedBy(session, key).length > 0) return true;
      const { answer } = await session.operate(isShared ? 'give-shared' : 'give', key, 'lock.release');
      return answer !== null;
    } finally {
      session.endIfIdle();
      this.host.onFree(key);
    }
  }

  /** When the question was sent that the session has answered. */
  private async ping(session: LockSession, ttlMs: number): Promise<number> {
    await session.cover(ttlMs);
    return (await session.operate('ping', 0n, 'lock.extend')).sentAt;
  }

  private async enter<T>(key: bigint, operation: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.gate.pass(key, this.host.commandTimeoutMs, work);
    } catch (error) {
      throw error instanceof PgTimeoutError ? asStoreError(error, operation, 'not-applied') : error;
    }
  }
}
