/** Where a {@link LockStore} is injected from. */
export const LOCK_STORE = Symbol('@lockstep/lock:LOCK_STORE');

/** A wish to hold a lock. */
export interface AcquireRequest {
  /** Validated by the runtime: 1 to 512 characters, none of them a control character. */
  readonly key: string;
  /** Owner token: unique for each request, and all that tells one holder from another. */
  readonly token: string;
  /** How long the lease lasts unless it is extended. */
  readonly ttlMs: number;
  /** How long to wait for others; 0 asks once. */
  readonly waitMs: number;
  /** Gives the waiting up. */
  readonly signal?: AbortSignal | undefined;
  /**
   * To be called by a store that learns of the loss by itself (a session that ended) instead of by the next extension.
   * May come at any time after the grant; must not come for a lease that was released.
   */
  onLost?(cause: 'expired' | 'stolen' | 'backend'): void;
}

/** The lock is held. */
export interface Grant<Fence extends bigint | undefined = bigint> {
  readonly status: 'granted';
  /** Greater than that of every earlier grant of the same key. `undefined` in stores that cannot promise it. */
  readonly fence: Fence;
  /**
   * On the monotonic clock of this process ({@link monotonicMs}): until then the store gives the key to nobody else,
   * if both clocks run at the same rate. Anchored *before* the request was sent, or in the server's time where the
   * grant was pushed. May lie sooner than `ttlMs`; the runtime then extends sooner.
   */
  readonly deadline: number;
}

/** Somebody else holds the lock. */
export interface Busy {
  readonly status: 'busy';
  /** How much of the other's lease is left. */
  readonly remainingMs: number;
}

export interface ExtendRequest {
  readonly key: string;
  readonly token: string;
  readonly ttlMs: number;
}

export type ExtendOutcome =
  | { readonly status: 'extended'; readonly deadline: number }
  /** `expired`: the lease ran out. `stolen`: the token is not the owner's, though its lease should have lasted. */
  | { readonly status: 'lost'; readonly cause: 'expired' | 'stolen' }
  /** Nothing is known of this item; the runtime tries again. */
  | { readonly status: 'failed'; readonly error: unknown };

export interface ReleaseRequest {
  readonly key: string;
  readonly token: string;
  /** Local end of the lease: until then a store may go on telling a backend that did not hear the release. */
  readonly deadline: number;
}

export type ReleaseOutcome =
  | { readonly status: 'released' }
  | { readonly status: 'not-held' }
  | { readonly status: 'failed'; readonly error: unknown };

/**
 * Keeps locks on one backend. What every store must keep is executable: `lockStoreContract` of `@lockstep/lock/contract`.
 *
 * - At most one token owns a key at a time, judged by the backend's own clock.
 * - Fences rise with every grant of a key, over expiry and release.
 * - A request whose answer was lost may be repeated with the same token: it gets the same fence and a fresh lease.
 * - A request that was given up never owns the key for longer than it takes to tell the backend; when the backend
 *   cannot be told, never for longer than the lease.
 * - A backend that cannot be reached is an error (`StoreUnavailableError`), never `busy`.
 */
export interface LockStore<Fence extends bigint | undefined = bigint> {
  /** For messages: `redis`. */
  readonly name: string;

  /**
   * Waits at most `waitMs`, pushed rather than polled where the backend can.
   *
   * @throws StoreUnavailableError when the backend does not answer
   * @throws the signal's reason once it aborts
   */
  acquire(request: AcquireRequest): Promise<Grant<Fence> | Busy>;

  /** Extends many leases at once; an outcome for each request, in their order. Never rejects. */
  extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]>;

  /** Gives many locks back at once; an outcome for each request, in their order. Never rejects. */
  release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]>;

  /** Ends timers and waits of the store; connections belong to others. Waiting requests reject. */
  close(): Promise<void>;
}
