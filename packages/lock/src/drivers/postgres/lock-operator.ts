import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, monotonicMs } from '@lockstep/core';
import { asStoreError } from '@lockstep/sql/postgres';
import type { LockHolder, LockState, ReleaseOutcome } from '../../lock-store.js';
import type { HeldLocks } from './held-locks.js';
import type { LockKeeper } from './lock-keeper.js';
import type { LockSessions } from './lock-sessions.js';
import { ASK_BACK, INSPECT, TERMINATE } from './lock-statements.js';

export interface OperatorHost {
  readonly sessions: LockSessions;
  readonly held: HeldLocks;
  readonly keeper: LockKeeper;
  readonly incidents: Incidents;
  readonly commandTimeoutMs: number;
}

interface LockRow {
  readonly pid: number;
  readonly started: string;
  readonly granted: boolean;
}

/** `pid:start of the backend`: how a session of another process is named. */
const SESSION = /^(\d{1,10}):(\d{1,20})$/;
const LOOK_AGAIN_MS = 20;

/** What an operator asks: who has a lock, and to have it back. */
export class LockOperator {
  constructor(private readonly host: OperatorHost) {}

  /** Holders of this process by their tokens, those of others by their sessions. @throws StoreUnavailableError */
  async inspect(key: bigint): Promise<LockState> {
    const rows = await this.locksOf(key);
    const own = this.host.held.of(key);
    const holders: LockHolder[] = [];
    for (const { pid, started, granted } of rows) {
      if (!granted) continue;
      const local = own.filter(({ session }) => session.identity.pid === pid);
      const tokens = local.length > 0 ? local.map(({ token }) => token) : [`${pid}:${started}`];
      for (const token of tokens) holders.push({ token, remainingMs: undefined });
    }
    return { holders, fence: undefined, waiters: rows.filter(({ granted }) => !granted).length };
  }

  /**
   * Takes the lock from the session that `token` names: asks its process to give back that one lock, and ends the session
   * with all its locks when it does not.
   */
  async takeAway(key: bigint, token: string): Promise<ReleaseOutcome> {
    if (!SESSION.test(token)) return { status: 'not-held' };
    try {
      if (!(await this.isHeldBy(key, token))) return { status: 'not-held' };
      const session = await this.host.sessions.shared();
      await session.query(ASK_BACK, [`${token} ${key}`]);
      if (await this.hasGivenBack(key, token)) return { status: 'released' };
      return await this.terminate(token);
    } catch (error) {
      return { status: 'failed', error: asStoreError(error, 'lock.release', 'unknown') };
    }
  }

  /** Another process asks for a lock back: `pid:start key`, of a session that may be of anybody. */
  answer(payload: string): void {
    const [name = '', key = ''] = payload.split(' ');
    const session = this.host.sessions.byPid(Number.parseInt(name, 10));
    if (!session || !/^-?\d+$/.test(key) || name !== `${session.identity.pid}:${session.identity.started}`) return;
    this.host.keeper.takeBack(session, BigInt(key)).catch((cause: unknown) =>
      this.host.incidents.report({
        code: 'LOCK_NOT_GIVEN_BACK',
        source: 'lock.postgres',
        message: 'an operator asked for a lock, and the server did not hear that it was given back',
        cause,
      }),
    );
  }

  private async terminate(token: string): Promise<ReleaseOutcome> {
    const session = await this.host.sessions.shared();
    const { commandTimeoutMs } = this.host;
    const values = [Number.parseInt(token, 10), commandTimeoutMs];
    const [row] = await session.query<{ gone: boolean }>(TERMINATE, values, commandTimeoutMs * 2);
    if (row?.gone) return { status: 'released' };
    return { status: 'failed', error: new Error(`the session ${token} could not be ended`) };
  }

  private async hasGivenBack(key: bigint, token: string): Promise<boolean> {
    const until = monotonicMs() + this.host.commandTimeoutMs / 2;
    while (monotonicMs() < until) {
      await sleep(LOOK_AGAIN_MS);
      if (!(await this.isHeldBy(key, token))) return true;
    }
    return false;
  }

  private async isHeldBy(key: bigint, token: string): Promise<boolean> {
    const rows = await this.locksOf(key);
    return rows.some(({ pid, started, granted }) => granted && `${pid}:${started}` === token);
  }

  private async locksOf(key: bigint): Promise<LockRow[]> {
    const session = await this.host.sessions.shared();
    try {
      return await session.query<LockRow>(INSPECT, [key.toString()]);
    } catch (error) {
      throw asStoreError(error, 'lock.inspect', 'not-applied');
    }
  }
}
