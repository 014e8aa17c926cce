import { Listeners, PeriodicTask } from '@lockstep/core';
import type { SessionHead } from '../../session-store.js';
import type { SessionDatabase } from './session-database.js';
import { readHeads } from './session-rows.js';
import { PURGE } from './session-statements.js';

/** Small, because a session may be large and a statement has a second. */
const BATCH = 250;

export interface EndedSessionsInit {
  readonly everyMs: number;
  onError(cause: unknown): void;
  /** Hears what somebody threw who was told of sessions that have run out. */
  onListenerError(cause: unknown): void;
}

/**
 * Deletes what has run out, batch after batch, so that tables do not grow; nobody could read it before either. Processes
 * do so side by side: each passes over the rows that another has in hand.
 */
export class EndedSessions {
  private readonly task: PeriodicTask;
  private readonly listeners: Listeners<readonly SessionHead[]>;

  constructor(
    private readonly database: SessionDatabase,
    init: EndedSessionsInit,
  ) {
    this.task = new PeriodicTask({ ...init, name: 'session purge', run: () => this.pass() });
    this.listeners = new Listeners((cause) => init.onListenerError(cause));
  }

  start(): void {
    this.task.start();
  }

  stop(): Promise<void> {
    return this.task.stop();
  }

  /** Calls `listener` with sessions of somebody that this process has deleted. Returns the function that ends it. */
  onExpired(listener: (sessions: readonly SessionHead[]) => void): () => void {
    return this.listeners.subscribe(listener);
  }

  private async pass(): Promise<'again' | undefined> {
    const row = await this.database.step<{ seen: number; expired: string }>('session.purge', PURGE, [BATCH]);
    const expired = readHeads(row?.expired ?? '[]');
    if (expired.length > 0) this.listeners.emit(expired);
    return Number(row?.seen) === BATCH ? 'again' : undefined;
  }
}
