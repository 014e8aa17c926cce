import { monotonicMs } from '@lockstep/core';
import { asStoreError, endsConnection, PgTimeoutError, within } from '@lockstep/sql/postgres';
import type { Busy, Grant } from '../../lock-store.js';
import type { LockSession } from './lock-session.js';
import type { LockSessions } from './lock-sessions.js';
import { CANCEL, waitStatement } from './lock-statements.js';
import { BUSY, type LockWish } from './lock-wish.js';

export interface BlockedWaitHost {
  readonly sessions: LockSessions;
  readonly commandTimeoutMs: number;
  /** The longest that one statement waits; one that waits for longer asks again. */
  readonly longestStatementMs: number;
  grant(wish: LockWish, session: LockSession, fence: string, deadline: number): Grant;
}

interface WaitRow {
  readonly pid: number;
  readonly fence: string;
  readonly waited: number;
}

/** SQLSTATEs: the wait was over; somebody cancelled the statement. */
const LOCK_NOT_AVAILABLE = '55P03';
const QUERY_CANCELED = '57014';

const CANCEL_ATTEMPTS = 4;
const FIRST_CANCEL_PAUSE_MS = 25;

/**
 * A wish that waits in the server's queue: waiting → granted | busy | to be asked again (its session was lost, or the
 * statement has waited long enough).
 */
export class BlockedWait {
  private isSent = false;
  private isAnswered = false;
  private noteAnswer: () => void = () => undefined;
  private readonly answered = new Promise<void>((resolve) => {
    this.noteAnswer = () => {
      this.isAnswered = true;
      resolve();
    };
  });
  private cancelling: Promise<void> | undefined;

  constructor(
    private readonly session: LockSession,
    private readonly wish: LockWish,
    private readonly host: BlockedWaitHost,
  ) {
    session.isWaiting = true;
  }

  /** @throws StoreUnavailableError when the server fell silent */
  async run(): Promise<Grant | Busy | 'again'> {
    try {
      return await this.waitInSession();
    } catch (error) {
      return await this.judge(error);
    } finally {
      this.noteAnswer();
      // A cancellation on its way must not meet the next statement.
      await this.cancelling;
      this.session.isWaiting = false;
    }
  }

  /** Ends the waiting soon; `run` tells how it ended. */
  cancel(): void {
    // A cancellation names a session: earlier it would meet what the session did before, such as giving back a lock.
    if (this.isSent) this.cancelling ??= this.cancelStatement();
  }

  private noteSent(): void {
    this.isSent = true;
    if (this.wish.isGivenUp) this.cancel();
  }

  private async waitInSession(): Promise<Grant | Busy> {
    const { session, wish } = this;
    const { ttlMs } = wish.request;
    await session.cover(ttlMs);
    if (wish.isGivenUp) return BUSY;
    const leftMs = Math.min(Math.max(Math.ceil(wish.leftMs), 1), this.host.longestStatementMs);
    const values = [String(leftMs), wish.key.toString()];
    const sentAt = monotonicMs();
    const timeoutMs = leftMs + this.host.commandTimeoutMs;
    const noteSent = (): void => this.noteSent();
    const answer = session.query<WaitRow>(waitStatement(wish.isShared), values, timeoutMs, noteSent);
    // At once: a cancellation that is repeated must not meet what follows the statement.
    const [row] = await answer.finally(this.noteAnswer);
    if (!row) throw new Error('the wait for a lock gave no row');
    session.assertBackend(row.pid);
    // From before the request, plus what passed at the server, whose clock may have been set meanwhile: never after now.
    const grantedAt = Math.min(sentAt + Math.max(row.waited, 0), monotonicMs());
    return this.host.grant(wish, session, row.fence, grantedAt + ttlMs);
  }

  private async judge(error: unknown): Promise<Busy | 'again'> {
    await this.leaveNothingBehind(error);
    if (this.wish.isGivenUp) return BUSY;
    const { code } = error as { readonly code?: unknown };
    if (code === LOCK_NOT_AVAILABLE) return this.wish.isOver ? BUSY : 'again';
    if (code === QUERY_CANCELED || (this.session.isEnded && !this.wish.isOver && endsConnection(error))) return 'again';
    throw asStoreError(error, 'lock.acquire', error instanceof PgTimeoutError ? 'unknown' : 'not-applied');
  }

  /** The statement may have failed after it had the lock, which is not undone with it. */
  private async leaveNothingBehind(error: unknown): Promise<void> {
    const { session, wish } = this;
    if (session.isEnded) return;
    if (error instanceof PgTimeoutError) {
      void session.end();
      return;
    }
    // Not before the last cancellation has come: it must not meet this statement.
    await this.cancelling;
    try {
      await session.operate(wish.isShared ? 'give-shared' : 'give', wish.key, 'lock.release');
    } catch {
      // Its locks end with it.
      void session.end();
    }
  }

  /** Again and again, for the statement may not have begun to wait when the first attempt comes. */
  private async cancelStatement(): Promise<void> {
    let pauseMs = FIRST_CANCEL_PAUSE_MS;
    for (let attempt = 0; attempt < CANCEL_ATTEMPTS && !this.isAnswered; attempt += 1) {
      await this.cancelOnce(pauseMs);
      pauseMs *= 2;
    }
    if (!this.isAnswered) void this.session.end();
  }

  private async cancelOnce(pauseMs: number): Promise<void> {
    try {
      const other = await this.host.sessions.shared();
      if (this.isAnswered) return;
      await other.query(CANCEL, [this.session.identity.pid]);
      await within(pauseMs, this.answered);
    } catch {
      // Tried again; in the end the session is closed, which needs no answer.
    }
  }
}
