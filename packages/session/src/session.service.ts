import type { IncomingMessage } from 'node:http';
import { DrainService, Incidents, Listeners, type Principal } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { SessionCookie } from './http/session-cookie.js';
import { currentSession } from './http/session-slot.js';
import { SessionTransport } from './http/session-transport.js';
import { findLogin, isKeepingDriver, type KeepingDriver, type SessionKeeping } from './keeping/session-keeping.js';
import { StoredSessions } from './keeping/stored-sessions.js';
import { SessionMisuseError } from './session.errors.js';
import { type ResolvedSessionOptions, SESSION_OPTIONS } from './session.options.js';
import type { SessionEvent } from './session-events.js';
import type { DeviceMeta, SessionRef } from './session-ref.js';
import type { SessionRuntime } from './session-state.js';
import { isWatchable, SESSION_STORE, type SessionHead, type SessionStore, tellsOfExpiry } from './session-store.js';
import { SessionTokens } from './session-token.js';
import { SessionUpgrades } from './upgrade/session-upgrades.js';
import type { UpgradedSession } from './upgrade/upgraded-session.js';
import { userGroup } from './user/user-group.js';

/** A session of a user as he is shown it: "my devices". */
export interface SessionInfo {
  /** What {@link SessionService.revoke} takes. */
  readonly handle: string;
  readonly isCurrent: boolean;
  readonly loggedInAt: Date;
  /** Exact to `touchAfter`. */
  readonly lastAccessAt: Date;
  readonly expiresAt: Date;
  readonly amr: readonly string[];
  readonly meta: DeviceMeta;
}

const LONGEST_META = 1_024;
const LONGEST_FACT = 256;

/**
 * The sessions of the application: the one of the request at hand, and those of a user wherever they were begun. What a
 * session can do is told by `SessionRef`, what a store must keep by `SessionStore`.
 */
@Injectable()
export class SessionService implements SessionRuntime {
  readonly keeping: SessionKeeping;
  readonly transport: SessionTransport;
  readonly events: Listeners<SessionEvent>;
  private readonly upgrades: SessionUpgrades;

  constructor(
    @Inject(SESSION_OPTIONS) readonly options: ResolvedSessionOptions,
    @Inject(SESSION_STORE) private readonly store: SessionStore | KeepingDriver,
    @Inject(Incidents) readonly incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    const cookie = options.cookie && new SessionCookie(options.cookie, incidents);
    this.transport = new SessionTransport(cookie, options);
    this.events = new Listeners((cause) =>
      incidents.report({
        code: 'SESSION_LISTENER_FAILED',
        source: 'session.events',
        message: 'A listener threw',
        cause,
      }),
    );
    const kept = { options, events: this.events, incidents };
    this.keeping = isKeepingDriver(store)
      ? store.open(kept)
      : new StoredSessions({ ...kept, store, tokens: new SessionTokens(options.keyring) });
    this.upgrades = new SessionUpgrades(this, !isKeepingDriver(store) && isWatchable(store) ? store : undefined, drain);
    if (!isKeepingDriver(store) && tellsOfExpiry(store)) store.onExpired((heads) => this.tellExpired(heads));
  }

  /**
   * The session of the request at hand.
   *
   * @throws SessionMisuseError outside of a request: in a job, a timer of the application, at boot
   */
  get current(): SessionRef {
    const session = currentSession();
    if (session) return session;
    throw new SessionMisuseError('There is no request here whose session this could be.');
  }

  /** The session of the request at hand; undefined outside of one. */
  find(): SessionRef | undefined {
    return currentSession();
  }

  /**
   * The session of a request that is upgraded, to a WebSocket as a rule, with a watch over its end for as long as the
   * connection lasts. Close the socket when `onEnd` is told.
   *
   * @returns undefined for a client without a live session, or that has left meanwhile, and for a page of another site:
   *   see `upgrade.allowedOrigins`
   * @throws StoreUnavailableError
   */
  fromUpgrade(request: IncomingMessage): Promise<UpgradedSession | undefined> {
    return this.upgrades.begin(request);
  }

  /**
   * The user's live sessions, newest first, at most 1 000.
   *
   * @throws SessionMisuseError where sessions are kept by their clients: nobody knows them
   */
  async list(user: Principal): Promise<readonly SessionInfo[]> {
    const group = userGroup(user);
    const { sessions, expired } = await this.stored('list').list(group);
    for (const handle of expired) this.events.emit({ type: 'expired', handle, principal: user });
    const current = currentSession()?.handle;
    return sessions.map((head) => infoOf(head, current));
  }

  /**
   * Ends one session of a user; its next request is a visitor's. Every process knows it at once.
   *
   * @returns false where the user has none of that handle, so that nobody can end another's
   * @throws SessionMisuseError where sessions are kept by their clients: only all of a user can be ended
   */
  async revoke(user: Principal, handle: string): Promise<boolean> {
    return (await this.end(user, { ids: [handle] })) > 0;
  }

  /**
   * Ends all sessions of a user. A login that was answered before is among them, one that is answered later is not.
   *
   * @returns how many there were; -1 where sessions are kept by their clients, whom nobody counts
   * @throws SessionMisuseError where sessions are kept by their clients, for `except`, or without revocation epochs
   */
  async revokeAll(
    user: Principal,
    options: { readonly except?: SessionRef | string | undefined } = {},
  ): Promise<number> {
    const { except } = options;
    if (this.keeping.endAll && except === undefined) {
      await this.keeping.endAll(user);
      return -1;
    }
    return this.end(user, { except: typeof except === 'string' ? except : except?.handle });
  }

  /** Calls `listener` for everything that this process does to sessions. Returns the function that ends it. */
  subscribe(listener: (event: SessionEvent) => void): () => void {
    return this.events.subscribe(listener);
  }

  /** What is noted about a device. */
  metaOf(request: IncomingMessage): string {
    const meta = this.options.meta ? this.options.meta(request) : defaultMeta(request);
    const text = JSON.stringify(meta) as string | undefined;
    return text !== undefined && text.length <= LONGEST_META ? text : '{}';
  }

  private tellExpired(heads: readonly SessionHead[]): void {
    for (const { key, principal } of heads) {
      this.events.emit({ type: 'expired', handle: key.id, principal: findLogin(principal)?.principal });
    }
  }

  private stored(what: string): SessionStore {
    if (!isKeepingDriver(this.store)) return this.store;
    const instead = this.keeping.endAll ? 'revokeAll(user), without `except`,' : 'Nothing but the end of their time';
    throw new SessionMisuseError(
      `Sessions that are kept by their clients cannot be found to ${what} them. ${instead} ends them.`,
    );
  }

  private async end(user: Principal, which: { ids?: readonly string[]; except?: string | undefined }): Promise<number> {
    const ended = await this.stored('revoke').remove({ group: userGroup(user), ...which });
    for (const handle of ended) this.events.emit({ type: 'revoked', handle, principal: user });
    return ended.length;
  }
}

function defaultMeta({ socket, headers }: IncomingMessage): DeviceMeta {
  const ip = socket?.remoteAddress;
  const userAgent = headers['user-agent']?.slice(0, LONGEST_FACT);
  return { ...(ip === undefined ? {} : { ip }), ...(userAgent === undefined ? {} : { userAgent }) };
}

/** What another version wrote about a device tells nothing; its session is listed, so that it can be ended. */
function decodeMeta(text: string): DeviceMeta {
  try {
    const meta: unknown = JSON.parse(text);
    return typeof meta === 'object' && meta !== null ? (meta as DeviceMeta) : {};
  } catch {
    return {};
  }
}

function infoOf(head: SessionHead, current: string | undefined): SessionInfo {
  const login = findLogin(head.principal);
  return {
    handle: head.key.id,
    isCurrent: head.key.id === current,
    loggedInAt: new Date(login?.at ?? head.createdAt),
    lastAccessAt: new Date(head.lastAccessAt),
    expiresAt: new Date(head.expiresAt),
    amr: login?.amr ?? [],
    meta: decodeMeta(head.meta),
  };
}
