import { ConfigurationError, StoreUnavailableError } from '@lockstep/core';
import { asStoreError, within } from '@lockstep/sql/postgres';
import type { LockClient, LockNotification } from './lock-client.js';
import { LockSession, type SessionHost } from './lock-session.js';
import { LISTEN, PREPARE_SESSION, WHO_AM_I } from './lock-statements.js';
import { firstSettings } from './session-settings.js';

export interface SessionsHost extends SessionHost {
  createClient(): LockClient | Promise<LockClient>;
  /** Whether a pooler that keeps a session on one backend may stand before the server. */
  readonly allowsSessionPooler: boolean;
  /** Another process asks for a lock back. */
  onAsked(payload: string): void;
}

interface PreparedRow {
  readonly pid: number;
  readonly started: string;
}

/** Opens sessions, and keeps the one that carries all locks that were free when they were asked for. */
export class LockSessions {
  private readonly open = new Set<LockSession>();
  private main: LockSession | undefined;
  private opening: Promise<LockSession> | undefined;
  private isClosed = false;

  constructor(private readonly host: SessionsHost) {}

  /** @throws StoreUnavailableError when the server cannot be reached; the next call tries again */
  async shared(): Promise<LockSession> {
    if (this.main?.isOpen) return this.main;
    this.opening ??= this.openMain().finally(() => {
      this.opening = undefined;
    });
    return this.opening;
  }

  /** The session of {@link shared} if there is one now. */
  get current(): LockSession | undefined {
    return this.main?.isOpen ? this.main : undefined;
  }

  byPid(pid: number): LockSession | undefined {
    for (const session of this.open) if (session.identity.pid === pid) return session;
    return undefined;
  }

  /** @throws StoreUnavailableError; ConfigurationError behind a pooler, and where the fences are not there */
  async add(): Promise<LockSession> {
    const client = await this.host.createClient();
    // An 'error' event that nobody hears ends the process; until there is a session, the calls tell of it.
    client.on('error', () => undefined);
    try {
      return await within(this.host.commandTimeoutMs, this.connect(client));
    } catch (error) {
      client.connection?.stream?.destroy();
      throw asStoreError(reworded(error), 'lock.connect', 'not-applied');
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all([...this.open].map((session) => session.end()));
  }

  private async openMain(): Promise<LockSession> {
    const session = await this.add();
    this.main = session;
    return session;
  }

  private async connect(client: LockClient): Promise<LockSession> {
    await client.connect();
    const settings = firstSettings();
    const { rows } = await client.query({
      text: PREPARE_SESSION,
      values: [Object.keys(settings), Object.values(settings)],
    });
    const { pid, started } = rows[0] as PreparedRow;
    await this.assertOneBackend(client, pid);
    await client.query({ text: LISTEN, values: [] });
    const session = new LockSession(client, { pid, started }, { ...this.host, onEnd: (ended) => this.forget(ended) });
    client.on('notification', (message: LockNotification) => this.host.onAsked(message.payload ?? ''));
    if (this.isClosed) await session.end();
    else this.open.add(session);
    return session;
  }

  /**
   * A transaction pooler names a process of its own invention when the connection begins, or answers the next statement
   * from another backend.
   */
  private async assertOneBackend(client: LockClient, pid: number): Promise<void> {
    const { rows } = await client.query({ text: WHO_AM_I, values: [] });
    const isMoved = rows[0]?.pid !== pid;
    const isPooled = typeof client.processID === 'number' && client.processID !== pid;
    if (!isMoved && (!isPooled || this.host.allowsSessionPooler)) return;
    throw new ConfigurationError(
      'postgresLockStore is connected through a pooler. A lock belongs to a session, and behind a transaction pooler the ' +
        'next statement may run in that of somebody else. Give it the URL of Postgres itself' +
        (isMoved ? '.' : ", or say pooler: 'session' if the pooler is known to keep a session on one backend."),
    );
  }

  private forget(session: LockSession): void {
    this.open.delete(session);
    if (this.main === session) this.main = undefined;
    this.host.onEnd(session);
  }
}

/** What the server refuses at the beginning, in terms of the store. */
function reworded(error: unknown): unknown {
  const { code } = error as { readonly code?: unknown };
  // A standby keeps no locks for others; while a failover goes on this may be what answers.
  if (code === '25006') {
    return new StoreUnavailableError({
      store: 'postgres',
      operation: 'lock.connect',
      outcome: 'not-applied',
      cause: error,
    });
  }
  if (code !== '42P01') return error;
  return new ConfigurationError(
    'postgresLockStore finds no sequence lockstep_lock_fence: its url must lead to the database of SqlModule, and its ' +
      "migration must have been applied where SqlModule's migrations are off.",
    error,
  );
}
