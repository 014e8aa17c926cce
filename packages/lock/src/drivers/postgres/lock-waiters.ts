import { type Incidents, monotonicMs } from '@lockstep/core';
import type { Busy, Grant } from '../../lock-store.js';
import { BlockedWait } from './blocked-wait.js';
import type { LockSession } from './lock-session.js';
import type { LockSessions } from './lock-sessions.js';
import { BUSY, type LockWish } from './lock-wish.js';

export interface WaitersHost {
  readonly sessions: LockSessions;
  readonly incidents: Incidents;
  readonly commandTimeoutMs: number;
  /** See {@link BlockedWaitHost}. */
  readonly longestStatementMs: number;
  /** Most sessions that wait, or carry what they waited for. */
  readonly most: number;
  /** Asks once, without waiting, for one that waits here. */
  attempt(wish: LockWish): Promise<Grant | Busy>;
  grant(wish: LockWish, session: LockSession, fence: string, deadline: number): Grant;
}

interface Waiter {
  readonly wish: LockWish;
  isAsking: boolean;
  settle(outcome: Grant | Busy | Promise<Grant | Busy>): void;
}

/** Those for whom there is no session ask again so often. */
const ASK_AGAIN_MS = 100;
/** The longest pause after sessions could not be opened; the first is {@link ASK_AGAIN_MS}, and each twice the last. */
const LONGEST_PAUSE_MS = 5_000;
/** A session that nobody needed for so long is closed. */
const IDLE_MS = 60_000;

/**
 * Those who wait. Each has a session of its own, because a session that waits can do nothing else; so the server keeps
 * the order.
 *
 * ```
 * queued --a session is free, or could be opened--> waits in it --granted--> the session carries the lock until it is released
 *                                                               --wait over | cancelled--> busy
 *                                                               --session lost | statement over--> queued, in front
 * queued --no session free--> asks again now and then --granted | wait over--> done
 * queued --no session can be opened, and there is none--> unavailable
 * ```
 */
export class LockWaiters {
  private queue: Waiter[] = [];
  private readonly sessions = new Map<LockSession, NodeJS.Timeout | undefined>();
  private readonly blocked = new Set<Promise<void>>();
  private opening = 0;
  private pauseMs = 0;
  private openAgainAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(private readonly host: WaitersHost) {}

  /** Whether a newcomer for `key` would overtake one that has no place in the server's queue yet. */
  hasQueued(key: bigint): boolean {
    return this.queue.some(({ wish }) => wish.key === key);
  }

  /** @throws StoreUnavailableError when the server is lost */
  wait(wish: LockWish): Promise<Grant | Busy> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.leave(waiter), wish.leftMs);
      const waiter: Waiter = {
        wish,
        isAsking: false,
        settle: (outcome) => {
          clearTimeout(timer);
          resolve(outcome);
        },
      };
      wish.onGiveUp = () => this.leave(waiter);
      this.queue.push(waiter);
      this.serve();
    });
  }

  /** A session may have become free, or `key` may be. */
  serve(key?: bigint): void {
    for (const session of [...this.sessions.keys()]) if (session.isEnded) this.forget(session);
    for (let [head] = this.queue; head && !head.isAsking; [head] = this.queue) {
      const session = this.idleSession();
      if (!session) break;
      this.queue.shift();
      this.block(session, head);
    }
    if (key !== undefined) this.askFor(key);
    this.openMore();
    this.watch();
  }

  /** Those who wait must have been given up before. */
  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const session of [...this.sessions.keys()]) clearTimeout(this.sessions.get(session));
    await Promise.all(this.blocked);
  }

  private leave(waiter: Waiter): void {
    if (waiter.isAsking || !this.queue.includes(waiter)) return;
    this.take(waiter);
    waiter.settle(BUSY);
  }

  private take(waiter: Waiter): void {
    this.queue = this.queue.filter((other) => other !== waiter);
  }

  private idleSession(): LockSession | undefined {
    for (const session of this.sessions.keys()) {
      if (session.isOpen && !session.isWaiting && session.holds.size === 0) return session;
    }
    return undefined;
  }

  private block(session: LockSession, waiter: Waiter): void {
    clearTimeout(this.sessions.get(session));
    const wait = new BlockedWait(session, waiter.wish, this.host);
    waiter.wish.onGiveUp = () => wait.cancel();
    const done = this.follow(wait, session, waiter).finally(() => this.blocked.delete(done));
    this.blocked.add(done);
  }

  private async follow(wait: BlockedWait, session: LockSession, waiter: Waiter): Promise<void> {
    try {
      const outcome = await wait.run();
      if (outcome === 'again') this.putBack(waiter);
      else waiter.settle(outcome);
    } catch (error) {
      waiter.settle(Promise.reject(error));
    }
    this.rest(session);
    this.serve(waiter.wish.isShared ? waiter.wish.key : undefined);
  }

  private putBack(waiter: Waiter): void {
    waiter.wish.onGiveUp = () => this.leave(waiter);
    this.queue.unshift(waiter);
    if (waiter.wish.isOver) this.leave(waiter);
  }

  private rest(session: LockSession): void {
    session.endIfIdle();
    if (!this.sessions.has(session)) return;
    clearTimeout(this.sessions.get(session));
    const end = (): void => {
      if (session.isWaiting || session.holds.size > 0) this.rest(session);
      else void session.end();
    };
    this.sessions.set(session, setTimeout(end, IDLE_MS).unref());
  }

  private forget(session: LockSession): void {
    clearTimeout(this.sessions.get(session));
    this.sessions.delete(session);
  }

  private openMore(): void {
    if (this.isClosed || (this.sessions.size > 0 && monotonicMs() < this.openAgainAt)) return;
    while (this.opening < this.queue.length && this.sessions.size + this.opening < this.host.most) void this.openOne();
  }

  private async openOne(): Promise<void> {
    this.opening += 1;
    try {
      const session = await this.host.sessions.add();
      this.sessions.set(session, undefined);
      this.pauseMs = 0;
    } catch (error) {
      this.cannotOpen(error);
    } finally {
      this.opening -= 1;
    }
    this.serve();
  }

  /** Who cannot wait in a session of his own may still wait for a turn in another; without any, nobody waits. */
  private cannotOpen(cause: unknown): void {
    if (this.sessions.size === 0) {
      for (const waiter of this.queue.splice(0)) waiter.settle(Promise.reject(cause));
      return;
    }
    this.pause();
    this.host.incidents.report({
      code: 'LOCK_SESSION_NOT_OPENED',
      source: 'lock.postgres',
      message: 'no further session could be opened; those who wait for a lock share the ones that are there',
      cause,
    });
  }

  /** Several that fail at one time are one failure. */
  private pause(): void {
    if (monotonicMs() < this.openAgainAt) return;
    this.pauseMs = Math.min(Math.max(this.pauseMs * 2, ASK_AGAIN_MS), LONGEST_PAUSE_MS);
    this.openAgainAt = monotonicMs() + this.pauseMs;
  }

  private watch(): void {
    if (this.isClosed || this.queue.length === 0 || this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      // First: nobody is given a session while he asks.
      this.serve();
      for (const key of new Set(this.queue.map(({ wish }) => wish.key))) this.askFor(key);
    }, ASK_AGAIN_MS);
  }

  private askFor(key: bigint): void {
    const first = this.queue.find(({ wish }) => wish.key === key);
    if (first && !first.isAsking) void this.ask(first);
  }

  private async ask(waiter: Waiter): Promise<void> {
    waiter.isAsking = true;
    let free: bigint | undefined;
    try {
      const outcome = await this.host.attempt(waiter.wish);
      if (outcome.status === 'busy' && !waiter.wish.isOver) return;
      this.take(waiter);
      waiter.settle(outcome);
      // Those who read may come along.
      if (waiter.wish.isShared) free = waiter.wish.key;
    } catch (error) {
      this.take(waiter);
      waiter.settle(Promise.reject(error));
    } finally {
      waiter.isAsking = false;
      // A session may have become free while it was asked.
      this.serve(free);
    }
  }
}
