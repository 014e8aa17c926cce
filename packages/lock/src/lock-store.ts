/** Where the default {@link LockStore} is injected from. */
export const LOCK_STORE = Symbol('@lockstep/lock:LOCK_STORE');

/** Who comes first when a lock is free: who waits longest, or who asks at that moment. */
export type Fairness = 'fifo' | 'barging';

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
  /**
   * How many may hold the key together, this one included: 1 is exclusive (and a writer), `Infinity` is a reader,
   * another number the permits of a semaphore. Granted when fewer than that hold the key and none of them wants it
   * alone; a reader does not pass a writer that waits. Never above 1 where {@link StoreAbilities} do not say so.
   */
  readonly capacity: number;
  /** `barging` may overtake those who wait; a store that cannot queue treats all alike. */
  readonly fairness: Fairness;
  /** Gives the waiting up. */
  readonly signal?: AbortSignal | undefined;
  /**
   * To be called by a store that learns of the loss by itself (a session that ended) instead of by the next extension.
   * May come at any time after the grant; must not come for a lease that was released.
   */
  onLost?(cause: StoreLoss): void;
}

/**
 * How a store words a loss. `expired`: the lease ran out. `stolen`: the token is not the owner's, though its lease
 * should have lasted. `backend`: the backend has been silent for so long that it may give the key to others.
 * `session`: the session that carried the lock has ended.
 */
export type StoreLoss = 'expired' | 'stolen' | 'backend' | 'session';

/** The lock is held. */
export interface Grant<Fence extends bigint | undefined = bigint> {
  readonly status: 'granted';
  /**
   * Greater than that of every earlier grant of the same key. Those who share the key may have the same, until it is
   * free again.
   * `undefined` in stores that cannot promise it.
   */
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
  /** How much of the other's lease is left; 0 where the backend has no leases. */
  readonly remainingMs: number;
}

export interface ExtendRequest {
  readonly key: string;
  readonly token: string;
  readonly ttlMs: number;
}

export type ExtendOutcome =
  | { readonly status: 'extended'; readonly deadline: number }
  | { readonly status: 'lost'; readonly cause: StoreLoss }
  /** Nothing is known of this item; the runtime tries again. */
  | { readonly status: 'failed'; readonly error: unknown };

export interface ReleaseRequest {
  readonly key: string;
  /** Of a holder in this process, or in another one: an operator may take a lock away from whoever has it. */
  readonly token: string;
  /** Local end of the lease: until then a store may go on telling a backend that did not hear the release. */
  readonly deadline: number;
}

export type ReleaseOutcome =
  | { readonly status: 'released' }
  | { readonly status: 'not-held' }
  | { readonly status: 'failed'; readonly error: unknown };

/** What the backend says of a key. */
export interface LockState {
  /** Several where the key is shared; none when it is free. */
  readonly holders: readonly LockHolder[];
  /** Of the latest grant, as far as the backend remembers; undefined where it does not, or has no fences. */
  readonly fence: bigint | undefined;
  /** How many wait in a queue that the backend keeps. */
  readonly waiters: number;
}

export interface LockHolder {
  /** What `release` takes to take the lock away: the token of a request, or the name of a session that carries locks. */
  readonly token: string;
  /** Rest of the lease by the backend's clock; undefined where a session carries the lock. */
  readonly remainingMs: number | undefined;
}

export interface StoreAbilities {
  /** Whether a lease ends by itself when a holder falls silent; else the lock ends with the holder's session. */
  readonly expires: boolean;
  /** Which capacities above 1 it grants. */
  readonly shares: 'none' | 'readers' | 'any';
  /** Whether those who wait are served in the order of their coming. */
  readonly queues: boolean;
}

/**
 * Keeps locks on one backend. What every store must keep is executable: `lockStoreContract` of `@lockstep/lock/contract`.
 *
 * - At most one token owns a key at a time (at most `capacity` where it is shared), judged by the backend's own clock.
 * - Fences rise with every grant of a key, over expiry and release.
 * - A request whose answer was lost may be repeated with the same token: it gets the same fence and a fresh lease.
 * - A request that was given up never owns the key for longer than it takes to tell the backend; when the backend
 *   cannot be told, never for longer than the lease.
 * - A backend that cannot be reached is an error (`StoreUnavailableError`), never `busy`.
 */
export interface LockStore<Fence extends bigint | undefined = bigint> {
  /** For messages: `redis`. */
  readonly name: string;
  readonly abilities: StoreAbilities;

  /**
   * Waits at most `waitMs`, pushed rather than polled where the backend can.
   *
   * @throws StoreUnavailableError when the backend does not answer
   * @throws the signal's reason once it aborts
   */
  acquire(request: AcquireRequest): Promise<Grant<Fence> | Busy>;

  /**
   * Grants the requests in their order up to the first that is busy, in one step and without waiting. The answer holds
   * the grants, and after them that one `busy`, if any. Absent where the backend cannot: the runtime then asks one by
   * one. The requests have no signal.
   *
   * @returns undefined when these keys cannot be had in one step (they lie on different servers)
   * @throws StoreUnavailableError when the backend does not answer; then none of the requests owns its key for long
   */
  acquirePrefix?(requests: readonly AcquireRequest[]): Promise<readonly (Grant<Fence> | Busy)[] | undefined>;

  /** Extends many leases at once; an outcome for each request, in their order. Never rejects. */
  extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]>;

  /** Gives many locks back at once; an outcome for each request, in their order. Never rejects. */
  release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]>;

  /** @throws StoreUnavailableError when the backend does not answer */
  inspect(key: string): Promise<LockState>;

  /** Ends timers and waits of the store; connections belong to others. Waiting requests are answered as busy. */
  close(): Promise<void>;
}
