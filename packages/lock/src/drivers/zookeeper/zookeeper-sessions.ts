import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { ResolvedZooKeeperOptions } from './zookeeper.options.js';
import { type ClientFactory, type SessionHost, ZooKeeperSession } from './zookeeper-session.js';

const REOPEN_AFTER_MS = 100;

/** The one session of a store at a time: opened with the first use, replaced when it has ended, until {@link close}. */
export class ZooKeeperSessions {
  private current: ZooKeeperSession | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(
    private readonly createClient: ClientFactory,
    private readonly options: ResolvedZooKeeperOptions,
    private readonly host: SessionHost,
    private readonly incidents: Incidents,
  ) {}

  /** The session if it is live at this moment. */
  get liveNow(): ZooKeeperSession | undefined {
    return this.current?.isLive ? this.current : undefined;
  }

  /**
   * The session as soon as it is live.
   * @param until monotonic
   * @throws StoreUnavailableError `not-applied` when it is not by then
   */
  async live(until: number, operation: string): Promise<ZooKeeperSession> {
    while (!this.isClosed) {
      const session = this.current ?? this.open();
      if (session.isLive) return session;
      if (monotonicMs() >= until) break;
      // Between an end and the next opening there is nothing to wait for but time.
      await (session.isEnded ? sleep(REOPEN_AFTER_MS) : session.settled(until));
    }
    throw new StoreUnavailableError({ store: 'zookeeper', operation, outcome: 'not-applied' });
  }

  async close(withinMs: number): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.current?.close(withinMs);
  }

  private open(): ZooKeeperSession {
    const onSilent = (session: ZooKeeperSession): void => this.host.onSilent(session);
    const onEnded: SessionHost['onEnded'] = (session, cause) => {
      this.reopen(session);
      this.host.onEnded(session, cause);
    };
    this.current = new ZooKeeperSession(this.createClient, this.options, { onSilent, onEnded }, this.incidents);
    return this.current;
  }

  /** At once, in the background; an end that comes right after the opening is not answered by another right after it. */
  private reopen(ended: ZooKeeperSession): void {
    if (this.isClosed || this.current !== ended) return;
    const delayMs = Math.max(ended.openedAt + REOPEN_AFTER_MS - monotonicMs(), 0);
    if (delayMs === 0) this.open();
    else this.timer = setTimeout(() => this.open(), delayMs).unref();
  }
}
