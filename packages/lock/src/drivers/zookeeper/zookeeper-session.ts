import { type Incidents, monotonicMs } from '@lockstep/core';
import type { Client } from 'node-zookeeper-client';
import { ClientGuard } from './client-guard.js';
import { NodeWatches } from './node-watches.js';
import { SessionClock } from './session-clock.js';
import type { ResolvedZooKeeperOptions } from './zookeeper.options.js';
import { ZooKeeperConnection } from './zookeeper-connection.js';

export type ClientFactory = (
  connect: string,
  options: { sessionTimeout: number; spinDelay: number; retries: number },
) => Client;

/** Who is told what becomes of a session. */
export interface SessionHost {
  /** Too little was heard for too long; what the session holds may soon be another's. */
  onSilent(session: ZooKeeperSession): void;
  /** `session`: ZooKeeper has ended it; `backend`: ZooKeeper may have, nothing was heard for the whole timeout. */
  onEnded(session: ZooKeeperSession, cause: 'session' | 'backend'): void;
}

const RECONNECT_WITHIN_MS = 100;

/**
 * One session of ZooKeeper, watched by a clock of its own, because the client waits for a silent server for ever.
 *
 * ```
 * opening --answered--> live --leader may soon end it--> silent --answered often enough--> live
 * any --silent for the whole timeout | expired | closed--> ended
 * ```
 */
export class ZooKeeperSession {
  readonly connection: ZooKeeperConnection;
  readonly watches: NodeWatches;
  /** Monotonic. */
  readonly openedAt = monotonicMs();
  private readonly client: Client;
  private readonly guard: ClientGuard;
  private readonly waiting = new Set<() => void>();
  private phase: 'opening' | 'live' | 'silent' | 'ended' = 'opening';
  private isConnected = false;
  private isAsking = false;
  /** Whether this silence is one of a connection that was made during it. */
  private hasChangedServer = false;
  private readonly clock: SessionClock;
  private timer: NodeJS.Timeout | undefined;
  private nextConfirmation: Promise<void> | undefined;

  constructor(
    createClient: ClientFactory,
    options: ResolvedZooKeeperOptions,
    private readonly host: SessionHost,
    private readonly incidents: Incidents,
  ) {
    this.clock = new SessionClock(this.openedAt, options.sessionTimeoutMs);
    this.client = createClient(options.connect, {
      sessionTimeout: options.sessionTimeoutMs,
      spinDelay: RECONNECT_WITHIN_MS,
      retries: 0,
    });
    this.guard = new ClientGuard(this.client, (cause) => this.reportNonsense(cause));
    const hear = (sentAt: number): void => this.hear(sentAt);
    this.connection = new ZooKeeperConnection(this.client, options.acls, hear, () => this.end('session'));
    this.watches = new NodeWatches(this.connection);
    this.client.on('connected', () => this.connected());
    this.client.on('disconnected', () => this.disconnected());
    this.client.on('expired', () => this.end('session'));
    this.client.on('authenticationFailed', () => this.end('session'));
    options.prepare(this.client);
    this.client.connect();
    this.keepWatch();
  }

  get isLive(): boolean {
    return this.phase === 'live' && this.isConnected;
  }

  get isEnded(): boolean {
    return this.phase === 'ended';
  }

  /** Monotonic: until then ZooKeeper gives away nothing that the session holds. */
  get sureUntil(): number {
    return this.clock.sureUntil;
  }

  /** As ZooKeeper has granted it. */
  get timeoutMs(): number {
    return this.clock.timeoutMs;
  }

  /** Whether a node with this owner is this session's. */
  owns(ephemeralOwner: Buffer): boolean {
    return ephemeralOwner.equals(this.client.getSessionId());
  }

  /** Resolves once it is live or ended, or at `until`. */
  async settled(until: number): Promise<void> {
    while (!this.isLive && !this.isEnded && monotonicMs() < until) await this.changed(until);
  }

  /** Asks the quorum. Those who call in one turn of the event loop share a request, which is sent after it. */
  confirm(): Promise<void> {
    this.nextConfirmation ??= Promise.resolve().then(() => {
      this.nextConfirmation = undefined;
      return this.connection.confirm();
    });
    return this.nextConfirmation;
  }

  /** Tells ZooKeeper, so that what the session holds is free at once, and waits for that at most `withinMs`. */
  async close(withinMs: number): Promise<void> {
    if (this.isEnded) return;
    this.phase = 'ended';
    clearTimeout(this.timer);
    if (this.isConnected) {
      this.guard.closeSession();
      await this.changed(monotonicMs() + withinMs);
    }
    this.dispose(new Error('The session was closed'));
  }

  private connected(): void {
    this.isConnected = true;
    this.clock.timeoutMs = this.client.getSessionTimeout();
    // It has only just got its chance to be heard.
    this.hasChangedServer ||= this.clock.stepAt(monotonicMs()) === 'change-server';
    this.ask();
    this.keepWatch();
    this.tellWaiting();
  }

  private disconnected(): void {
    this.isConnected = false;
    this.tellWaiting();
  }

  private hear(sentAt: number): void {
    if (this.isEnded) return;
    const now = monotonicMs();
    this.clock.hear(sentAt, now);
    this.hasChangedServer = false;
    if (this.phase === 'live') return;
    // One answer after a long silence does not say that the leader has heard of it; then the next ones do.
    const isSure = now < this.clock.warnAt;
    if (isSure) this.phase = 'live';
    this.keepWatch();
    if (isSure) this.tellWaiting();
  }

  /** The timer is late rather than early: answers that came meanwhile have moved what it was set for. */
  private keepWatch(): void {
    clearTimeout(this.timer);
    const now = monotonicMs();
    const step = this.clock.stepAt(now);
    if (step === 'end') {
      this.end('backend');
      return;
    }
    if (this.phase === 'live' && now >= this.clock.warnAt) this.warn();
    if (step === 'change-server') this.changeServer();
    else if (step === 'ask') this.ask();
    const dueMs = this.clock.nextAfter(now) - monotonicMs();
    this.timer = setTimeout(() => this.keepWatch(), Math.max(Math.ceil(dueMs), 1)).unref();
  }

  private ask(): void {
    if (this.isAsking || !this.isConnected) return;
    this.isAsking = true;
    const asked = (): void => {
      this.isAsking = false;
    };
    // Either way the clock decides: an answer has moved it, and a connection that was lost comes back or does not.
    this.connection.confirm().then(asked, asked);
  }

  /** The session outlives its connection: another server may still be heard in time. */
  private changeServer(): void {
    if (this.hasChangedServer || !this.isConnected) return;
    this.hasChangedServer = true;
    this.guard.dropConnection();
  }

  private warn(): void {
    this.phase = 'silent';
    const message = 'ZooKeeper is silent; locks that are held count as lost';
    this.incidents.report({ code: 'LOCK_SESSION_SILENT', source: 'lock.zookeeper', message });
    this.host.onSilent(this);
    this.tellWaiting();
  }

  private end(cause: 'session' | 'backend'): void {
    if (this.isEnded) return;
    const wasOpen = this.phase !== 'opening';
    this.phase = 'ended';
    clearTimeout(this.timer);
    // A server that is only slow then frees at once what the session held.
    if (this.isConnected) this.guard.closeSession();
    this.dispose(new Error('The session has ended'));
    this.reportEnd(cause, wasOpen);
    this.host.onEnded(this, cause);
  }

  private reportEnd(cause: 'session' | 'backend', wasOpen: boolean): void {
    const ended = 'the session with ZooKeeper has ended; its locks are lost and a new one is opened';
    const refused = 'no session with ZooKeeper could be opened; it is tried again';
    const code = wasOpen ? 'LOCK_SESSION_ENDED' : 'LOCK_SESSION_NOT_OPENED';
    const message = wasOpen ? ended : refused;
    this.incidents.report({ code, source: 'lock.zookeeper', message, fields: { cause } });
  }

  private dispose(reason: Error): void {
    this.isConnected = false;
    this.watches.clear();
    this.connection.end(reason);
    this.guard.dispose();
    this.tellWaiting();
  }

  private changed(until: number): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.waiting.delete(settle);
        resolve();
      };
      const timer = setTimeout(settle, Math.max(until - monotonicMs(), 0));
      this.waiting.add(settle);
    });
  }

  private tellWaiting(): void {
    for (const settle of [...this.waiting]) settle();
  }

  private reportNonsense(cause: unknown): void {
    const message = 'an answer of ZooKeeper could not be read; the connection is made anew';
    this.incidents.report({ code: 'LOCK_BACKEND_NONSENSE', source: 'lock.zookeeper', message, cause });
  }
}
