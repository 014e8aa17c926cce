import { setMaxListeners } from 'node:events';
import { type Incidents, Listeners, RequestContext } from '@lockstep/core';
import { bindSession } from '../http/session-slot.js';
import type { RequestSession } from '../request-session.js';
import { SessionEndedError } from '../session.errors.js';
import type { SessionRef } from '../session-ref.js';
import type { WatchableStore } from '../session-store.js';

/** Why a socket should be closed: its session is no longer there, or the application shuts down. */
export type UpgradeEnd = 'session-ended' | 'shutdown';

export interface UpgradeHost {
  /** Undefined where nobody tells of an end. */
  readonly watchable: WatchableStore | undefined;
  readonly incidents: Incidents;
  /** Hears of everything that runs for the socket, to let it finish at a shutdown. */
  track(work: Promise<unknown>): void;
  /** The session needs no more looking after. */
  forget(upgraded: UpgradedSession): void;
}

/**
 * The session behind an open WebSocket, or whatever else an upgrade begins.
 *
 * ```
 * open --run--> open                      the messages of the client, in the context of its user
 * open --revoked, logged out, evicted, replaced by a login (pushed, or found by a look), run out (found)--> over
 * open --shutdown--> over
 * open --close, connection closed--> over, and nobody is told
 * ```
 * A message counts as use of the session; that the socket is open does not.
 */
export class UpgradedSession {
  private readonly controller = new AbortController();
  private readonly listeners: Listeners<UpgradeEnd>;
  private isUsed = false;
  private end: UpgradeEnd | 'closed' | undefined;
  private watchedId: string | undefined;
  private unwatch: (() => Promise<void>) | undefined;
  private following: Promise<boolean> | undefined;

  /** Made by `SessionService.fromUpgrade()`. */
  constructor(
    private readonly host: UpgradeHost,
    private readonly kept: RequestSession,
  ) {
    // A socket may start many things that listen, and a warning for the eleventh would say nothing.
    setMaxListeners(0, this.controller.signal);
    this.listeners = new Listeners((cause) =>
      host.incidents.report({
        code: 'SESSION_LISTENER_FAILED',
        source: 'session.upgrade',
        message: 'A listener for the end of an upgraded session threw',
        cause,
      }),
    );
  }

  /**
   * The session itself. There is no answer that would save it or tell the client of a new id: what is set needs
   * `save()` or `update()`; `login`, `rotate` and the beginning of a new session are refused. `logout` works.
   */
  get session(): SessionRef {
    return this.kept;
  }

  /** Aborts when {@link onEnd} is told, and when the connection has closed. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /**
   * Runs `fn` for a message of the client: in it, and in all that it starts, `SessionService.current` is this session
   * and `RequestContext.current().principal` its user. Each call has a context of its own.
   *
   * @throws SessionEndedError when the session has ended, or the socket is closed
   */
  run<T>(fn: () => T): T {
    if (this.end) throw new SessionEndedError('upgrade.run');
    this.isUsed = true;
    const context = new RequestContext();
    context.principal = this.kept.principal;
    bindSession(context, this.kept);
    const result = RequestContext.run(context, fn);
    // Where the store does not tell, a logout would be found by the next look only.
    if (result instanceof Promise) this.host.track(this.finishAfter(result));
    else void this.finishIfGone();
    return result;
  }

  /** Calls `listener` once when the socket should be closed; at once if it should already. Returns what ends that. */
  onEnd(listener: (reason: UpgradeEnd) => void): () => void {
    const unsubscribe = this.listeners.subscribe(listener);
    if (this.end === undefined) return unsubscribe;
    if (this.end !== 'closed') this.listeners.emit(this.end);
    unsubscribe();
    return unsubscribe;
  }

  /** Ends the watch before the connection closes, which ends it as well. Never rejects. */
  async close(): Promise<void> {
    await this.finish('closed');
  }

  /** Begins to be told of the end. */
  async open(): Promise<void> {
    if (!(await this.follow())) return;
    // It may have ended before the watch began.
    if (!(await this.kept.isStillThere(true))) await this.finish('session-ended');
  }

  /** Looks whether the session is still there. Rejects when that is not known. */
  async check(): Promise<void> {
    if (this.end) return;
    const isThere = await this.kept.isStillThere(!this.isUsed);
    this.isUsed = false;
    if (isThere) await this.follow();
    else await this.finish('session-ended');
  }

  async finish(end: UpgradeEnd | 'closed'): Promise<void> {
    if (this.end) return;
    this.end = end;
    this.host.forget(this);
    this.controller.abort(new SessionEndedError(`upgrade.${end}`));
    if (end !== 'closed') this.listeners.emit(end);
    await this.unwatch?.();
  }

  private async finishAfter(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } finally {
      await this.finishIfGone();
    }
  }

  private async finishIfGone(): Promise<void> {
    if (!this.kept.exists) await this.finish('session-ended');
  }

  /** Watches the id that the session has now: a request may have renewed it. @returns whether a new watch began */
  private follow(): Promise<boolean> {
    // A look may come before the watch has begun, and of two watches one would never end.
    this.following ??= this.watchAnew().finally(() => {
      this.following = undefined;
    });
    return this.following;
  }

  private async watchAnew(): Promise<boolean> {
    const { watchable, incidents } = this.host;
    const { key } = this.kept;
    if (!key || key.id === this.watchedId || !watchable) return false;
    const before = this.unwatch;
    try {
      const unwatch = await watchable.watch(key, () => void this.finish('session-ended'));
      if (this.end) await unwatch();
      else this.unwatch = unwatch;
    } catch (cause) {
      incidents.report({
        code: 'SESSION_NOT_WATCHED',
        source: 'session.upgrade',
        message: 'The store does not tell of the end of a session; it is found by looking',
        cause,
      });
      return false;
    }
    this.watchedId = key.id;
    await before?.();
    return true;
  }
}
