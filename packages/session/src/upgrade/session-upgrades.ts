import type { IncomingMessage } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type DrainService, PeriodicTask, RequestContext } from '@lockstep/core';
import { boundSession } from '../http/session-slot.js';
import { provenTokens } from '../keeping/session-keeping.js';
import { RequestSession } from '../request-session.js';
import type { SessionRuntime } from '../session-state.js';
import type { WatchableStore } from '../session-store.js';
import { UpgradedSession, type UpgradeHost } from './upgraded-session.js';

/** Looks at the store that are under way at a time. */
const LOOKS_AT_ONCE = 64;
const SHORTEST_PAUSE_MS = 1_000;
const LONGEST_FIELD = 256;

/**
 * The sessions behind open sockets of this process. One task looks after all of them; at a shutdown what runs for them
 * finishes first, then each is told.
 */
export class SessionUpgrades implements UpgradeHost {
  private readonly open = new Set<UpgradedSession>();
  private readonly running = new Set<Promise<unknown>>();
  private readonly task: PeriodicTask;
  private isDrained = false;

  constructor(
    private readonly runtime: SessionRuntime,
    readonly watchable: WatchableStore | undefined,
    drain: DrainService,
  ) {
    this.task = new PeriodicTask({
      name: 'session.upgrades',
      everyMs: this.pauseMs(),
      run: (signal) => this.lookAfterAll(signal),
      onError: (cause) =>
        this.incidents.report({
          code: 'SESSION_RECHECK_FAILED',
          source: 'session.upgrade',
          message: 'Sessions of open sockets could not be looked up; the sockets stay open',
          cause,
        }),
    });
    drain.register({ name: 'sessions of open sockets', phase: 'work', drain: (signal) => this.drain(signal) });
  }

  get incidents(): SessionRuntime['incidents'] {
    return this.runtime.incidents;
  }

  async begin(request: IncomingMessage): Promise<UpgradedSession | undefined> {
    const { keeping, transport } = this.runtime;
    if (!this.mayOpen(request)) return undefined;
    const presented = transport.presented(request);
    const tokens = provenTokens(presented, keeping);
    if (tokens.length === 0) return undefined;
    const session = this.sessionOf(request);
    await session.load(presented, tokens);
    // A client that has left meanwhile would never close again.
    if (!session.exists || request.socket.destroyed) return undefined;
    const upgraded = new UpgradedSession(this, session);
    this.open.add(upgraded);
    request.socket.once('close', () => void upgraded.close());
    if (this.isDrained) await upgraded.finish('shutdown');
    else await this.lookAfter(upgraded);
    return upgraded;
  }

  track(work: Promise<unknown>): void {
    const done = (): void => void this.running.delete(work);
    this.running.add(work);
    work.then(done, done);
  }

  forget(upgraded: UpgradedSession): void {
    this.open.delete(upgraded);
  }

  private async lookAfter(upgraded: UpgradedSession): Promise<void> {
    this.task.start();
    try {
      await upgraded.open();
    } catch (error) {
      await upgraded.close();
      throw error;
    }
  }

  private sessionOf(request: IncomingMessage): RequestSession {
    const session: RequestSession = new RequestSession(this.runtime, {
      request,
      response: undefined,
      /** That of the message at hand, so that its principal changes with the session. */
      get context() {
        const context = RequestContext.current();
        return boundSession(context) === session ? context : undefined;
      },
    });
    return session;
  }

  private mayOpen(request: IncomingMessage): boolean {
    const { origin } = request.headers;
    if (origin === undefined || this.runtime.options.upgrade.mayOpen(origin, request)) return true;
    this.incidents.report({
      code: 'SESSION_ORIGIN_REFUSED',
      source: 'session.upgrade',
      message: 'A page of another site opened a socket; it got no session',
      fields: { origin: origin.slice(0, LONGEST_FIELD), host: (request.headers.host ?? '').slice(0, LONGEST_FIELD) },
    });
    return false;
  }

  private async lookAfterAll(signal: AbortSignal): Promise<undefined> {
    const all = [...this.open];
    for (let from = 0; from < all.length && !signal.aborted; from += LOOKS_AT_ONCE) {
      await Promise.all(all.slice(from, from + LOOKS_AT_ONCE).map((upgraded) => upgraded.check()));
    }
    return undefined;
  }

  /** A renewed id leads to its successor for a while only, in which it has to be noticed. */
  private pauseMs(): number {
    const { upgrade, renewEveryMs, renewGraceMs } = this.runtime.options;
    if (!Number.isFinite(renewEveryMs)) return upgrade.recheckEveryMs;
    return Math.min(upgrade.recheckEveryMs, Math.max(renewGraceMs / 2, SHORTEST_PAUSE_MS));
  }

  private async drain(signal: AbortSignal): Promise<void> {
    this.isDrained = true;
    await this.task.stop();
    const given = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    while (this.running.size > 0 && !signal.aborted) await Promise.race([Promise.allSettled(this.running), given]);
    // What was done is answered before the socket closes.
    await nextTurn();
    await Promise.all([...this.open].map((upgraded) => upgraded.finish('shutdown')));
  }
}
