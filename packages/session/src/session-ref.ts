import type { Principal } from '@lockstep/core';

/** About the device at the other end, noted at the beginning and at each login. */
export interface DeviceMeta {
  readonly ip?: string;
  readonly userAgent?: string;
  readonly [fact: string]: string | undefined;
}

export interface LoginOptions {
  /** How the user has proven who he is (RFC 8176): `['pwd', 'otp']`. Readable as {@link SessionRef.amr}. */
  readonly amr?: readonly string[];
  /** False: the attributes of the session so far are left behind. @default true */
  readonly keepAttributes?: boolean;
}

/**
 * The session of a request. Reading is free of I/O: it was loaded before. Values are JSON with `Date`, `Map`, `Set`,
 * `bigint` and bytes; a value that is changed in place counts as set.
 *
 * What is set travels when the answer is about to be sent, as one delta: attributes that this request did not touch are
 * not written, so that requests side by side lose nothing of each other. Of two that set the same attribute the last
 * one wins; where that is not good enough, use {@link update}. Nothing is ever written to a session that has ended.
 */
export interface SessionRef {
  /** Whether a store knows it: false for a visitor who has none yet. */
  readonly exists: boolean;
  /** Names it in lists and logs; no secret, and of no use as a cookie. Undefined where `exists` is false. */
  readonly handle: string | undefined;
  readonly principal: Principal | undefined;
  /** When {@link login} was called; undefined for a session of nobody. */
  readonly loggedInAt: Date | undefined;
  readonly amr: readonly string[];
  readonly createdAt: Date | undefined;
  /** The latest it can last. */
  readonly expiresAt: Date | undefined;
  /** The attributes that are there. */
  readonly names: readonly string[];

  get<T = unknown>(name: string): T | undefined;
  has(name: string): boolean;
  /**
   * Undefined deletes. A visitor without a session gets one.
   *
   * @throws SessionMisuseError for a name that is none, a value that cannot be kept, on a `@ReadonlySession()` route,
   *   or when a new session would need a cookie and the answer has already begun
   * @throws SessionEndedError when this request has found that the session has ended
   */
  set(name: string, value: unknown): void;
  delete(name: string): void;
  /** Deletes all attributes; who is logged in stays so. */
  clear(): void;

  /**
   * Changes one attribute by what it is now at the store, at once: if another request changes it meanwhile, `fn` is
   * called again. It may be called several times, so it should only compute; `save`, `login` and the like of this session
   * are refused within it. An update that was answered took effect once.
   *
   * @returns the new value
   * @throws SessionContendedError when others were faster sixteen times
   * @throws SessionEndedError when the session has ended
   * @throws StoreUnavailableError when it may or may not have taken effect (`unknown`), or did not (`not-applied`)
   */
  update<T = unknown>(
    name: string,
    fn: (value: T | undefined) => T | undefined | Promise<T | undefined>,
  ): Promise<T | undefined>;

  /**
   * Writes what is set so far. Needed only where something must be kept before the answer, or after a streamed one has
   * begun.
   *
   * @throws SessionEndedError, SessionTooLargeError, StoreUnavailableError
   */
  save(): Promise<void>;
  /** Forgets what is not saved and reads again. */
  reload(): Promise<void>;

  /**
   * From here on the session is the user's: under a new id, with times that begin anew. The old id is worth nothing
   * when this resolves, so that nobody who knew it before (session fixation) is logged in as well.
   *
   * @throws TooManySessionsError where the limit refuses one more
   * @throws SessionEndedError when the session was ended by somebody else meanwhile
   */
  login(user: Principal, options?: LoginOptions): Promise<void>;
  /** Ends the session and its cookie. Resolves also where there is none. */
  logout(): Promise<void>;
  /** A new id for the same session, to be called when its privileges change. The old one is worth nothing at once. */
  rotate(): Promise<void>;
}
