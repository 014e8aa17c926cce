/**
 * Where a session is found. Neither part is a secret: who reads them cannot make a cookie of them.
 *
 * `group` names what one atomic step may have to change together: all sessions of a user, and the index of them, share
 * one group, which drivers turn into a hash slot. A session of nobody has a random one.
 */
export interface SessionKey {
  /** Hash of the secret id, 43 characters of base64url. */
  readonly id: string;
  /** 1 to 40 characters of `[A-Za-z0-9_-]`. */
  readonly group: string;
}

/** One attribute as it is kept. */
export interface StoredAttribute {
  /** The encoded value; opaque to the store. */
  readonly text: string;
  /** Grows with every write of the attribute, within the life of the session; {@link SaveRequest.expect} compares it. */
  readonly revision: number;
}

/** What a session is, apart from its attributes. Times are epoch milliseconds of the store's clock. */
export interface SessionHead {
  readonly key: SessionKey;
  /** When it began; a renewed id does not begin a session, a login does. */
  readonly createdAt: number;
  /** When its present id was given out. */
  readonly issuedAt: number;
  /** The latest use that was noted; see {@link LoadRequest.touchAfterMs}. */
  readonly lastAccessAt: number;
  /** Ends it, however much it is used. */
  readonly expiresAt: number;
  readonly idleMs: number;
  /** The user as login wrote it, opaque to the store; undefined for a session of nobody. */
  readonly principal: string | undefined;
  /** About the device; opaque to the store. */
  readonly meta: string;
}

export interface SessionRecord extends SessionHead {
  readonly attributes: ReadonlyMap<string, StoredAttribute>;
  /** Grows with every save. */
  readonly version: number;
  /** The store's clock when it was read. */
  readonly readAt: number;
}

export interface LoadRequest {
  readonly key: SessionKey;
  /**
   * The use is noted, and the idle timeout begins anew, when the last one that was noted is at least so long ago.
   * Infinity: only looks.
   */
  readonly touchAfterMs: number;
}

/** A session that is to be. */
export interface SessionDraft {
  readonly key: SessionKey;
  readonly idleMs: number;
  /** From now on. */
  readonly absoluteMs: number;
  readonly principal: string | undefined;
  readonly meta: string;
}

/** Of one user. A session that has run out is none. */
export interface SessionLimit {
  readonly sessions: number;
  /** What happens to one more: it is refused, or the oldest by {@link SessionHead.createdAt} ends. */
  readonly policy: 'reject' | 'evict-oldest';
}

export interface CreateRequest {
  readonly draft: SessionDraft;
  readonly attributes: ReadonlyMap<string, string>;
  /** Only for a session of somebody. */
  readonly limit?: SessionLimit | undefined;
}

/** Sessions of the same user that a step found at their end. */
export interface Swept {
  /** Ended to make room. */
  readonly evicted: readonly string[];
  /** Had run out, and are not listed any more; each is told at most once. */
  readonly expired: readonly string[];
}

export type CreateOutcome = ({ readonly outcome: 'created'; readonly record: SessionRecord } & Swept) | Refused;

/** The user has as many sessions as he may; nothing was changed. */
export interface Refused {
  readonly outcome: 'refused';
}

/** The session is not there: logged out, revoked, run out, or never been. Nothing was changed, and nothing was made. */
export interface Gone {
  readonly outcome: 'gone';
}

export interface SaveRequest {
  readonly key: SessionKey;
  readonly set: ReadonlyMap<string, string>;
  readonly remove: readonly string[];
  /**
   * Nothing is written unless the attribute is still at this revision; 0: unless it is absent. The attribute must be
   * one that is set or removed.
   */
  readonly expect?: { readonly attribute: string; readonly revision: number } | undefined;
  /**
   * Names this save, 8 to 32 characters of `[A-Za-z0-9_-]`: sent twice, it takes effect once. A store remembers the
   * last {@link REMEMBERED_SAVES} of a session.
   */
  readonly save: string;
}

/** How many saves of a session a store must remember. */
export const REMEMBERED_SAVES = 16;

export type SaveOutcome =
  /** `revisions`: of the attributes that were set, in that order; of a repeated save, what they are by now. */
  | { readonly outcome: 'saved'; readonly version: number; readonly revisions: readonly number[] }
  /** Another save changed the expected attribute; nothing was written. */
  | { readonly outcome: 'conflict' }
  | Gone;

export interface ReplaceRequest {
  readonly from: SessionKey;
  /** The new session; one of another user, or of somebody in place of nobody, has another group. */
  readonly draft: SessionDraft;
  /**
   * - `login`: the old id ends at once, before the answer; the attributes go along; times begin anew.
   * - `reset`: the same without the attributes.
   * - `renew`: the same session under a new id of the same group; it keeps its times, principal and attributes. The old
   *   id leads to it until {@link graceMs} after the new one was first used, so that requests on their way, and a
   *   client that never got the answer, are not logged out.
   */
  readonly manner: 'login' | 'reset' | 'renew';
  /** Of `renew`. */
  readonly graceMs?: number;
  readonly limit?: SessionLimit | undefined;
}

export type ReplaceOutcome =
  | ({ readonly outcome: 'replaced'; readonly record: SessionRecord } & Swept)
  /** `renew` only: another request was faster. The old id leads to what that one made. */
  | { readonly outcome: 'renewed' }
  | Refused
  | Gone;

export interface RemoveRequest {
  readonly group: string;
  /** Those with these ids; an id that was renewed stands for its successor. */
  readonly ids?: readonly string[];
  /** All of the group but this one. */
  readonly except?: string | undefined;
}

/**
 * Keeps sessions on behalf of all processes. Everything is by the store's own clock.
 *
 * ```
 * absent --create--> live --save, touch--> live
 * live --replace (login, reset)--> absent, and its successor is live in its place
 * live --replace (renew)--> leads to its one successor; absent when that was used, plus the grace
 * live --idle | expiresAt | remove--> absent
 * ```
 * What was absent never comes back: no step but `create` and `replace` makes a session, and each makes the one that its
 * draft names. Each step is atomic, with one exception: a `replace` into another group may be two, in an order that
 * leaves no session that the index of its user does not name, none that `remove` of its group misses, and no old id
 * that outlives the answer; a save that was answered before the answer is not lost by it.
 *
 * Every method rejects with `StoreUnavailableError` when the store does not answer in time; `outcome: 'unknown'` of it
 * tells that the step may have been taken. All but `load` may be sent twice and take effect once: `create` and
 * `replace` by the key of the draft, `save` by its name.
 */
export interface SessionStore {
  load(request: LoadRequest): Promise<SessionRecord | undefined>;
  create(request: CreateRequest): Promise<CreateOutcome>;
  save(request: SaveRequest): Promise<SaveOutcome>;
  replace(request: ReplaceRequest): Promise<ReplaceOutcome>;
  /** The live sessions of a group that have a principal, newest first, at most 1 000; and what was found run out. */
  list(group: string): Promise<{ readonly sessions: readonly SessionHead[]; readonly expired: readonly string[] }>;
  /** @returns the ids of those that this call ended */
  remove(request: RemoveRequest): Promise<readonly string[]>;
}

/** A store that tells processes when a session has ended. */
export interface WatchableStore {
  /**
   * Calls `ended` when somebody removes the session, evicts it or replaces its id at a login. At most once each, and it
   * may be missed: look again from time to time.
   *
   * @returns ends the watch; never rejects
   */
  watch(key: SessionKey, ended: () => void): Promise<() => Promise<void>>;
}

export function isWatchable(store: SessionStore): store is SessionStore & WatchableStore {
  return typeof (store as Partial<WatchableStore>).watch === 'function';
}

/** A store that clears up by itself and tells of it. */
export interface ExpiryTellingStore {
  /**
   * Calls `listener` with sessions of somebody that have run out, as they are cleared up; none of them is in a
   * {@link Swept} or a list as well. Best effort. Returns the function that ends it.
   */
  onExpired(listener: (sessions: readonly SessionHead[]) => void): () => void;
}

export function tellsOfExpiry(store: SessionStore): store is SessionStore & ExpiryTellingStore {
  return typeof (store as Partial<ExpiryTellingStore>).onExpired === 'function';
}

export const SESSION_STORE = Symbol('@lockstep/session:SESSION_STORE');
