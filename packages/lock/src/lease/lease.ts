/** What is held for as long as a lease lasts. It is extended in the background until it is released. */
export interface Holding extends AsyncDisposable {
  /** Until when it is surely held if nothing else comes: milliseconds of `performance.now()`. */
  readonly deadline: number;
  /**
   * Aborts when the lock is lost, with a `LockLostError` as reason, at the deadline at the latest even if the store is
   * silent. Does not abort on release.
   */
  readonly signal: AbortSignal;
  /** By the clock, now: right also after the event loop was blocked, before any timer could run. */
  isHeld(): boolean;
  /** @throws LockLostError when the lock was lost or released */
  assertHeld(): void;
  /**
   * Extends now instead of at the next heartbeat.
   * @throws LockLostError when the lock is no longer held
   * @throws StoreUnavailableError when the store does not answer; the lock is held until {@link deadline} all the same
   */
  extend(): Promise<void>;
  /** Gives the lock back. Never rejects: a failure is an incident, and the lease ends by itself. */
  release(): Promise<void>;
}

/**
 * A lock that is held. `await using lease = await locks.acquire('sku:42')` releases at the end of the block.
 *
 * `Fence` is `undefined` where the store cannot promise fences that rise.
 */
export interface Lease<Fence extends bigint | undefined = bigint> extends Holding {
  readonly key: string;
  /** Owner token of this acquisition. */
  readonly token: string;
  /**
   * Greater than that of every earlier holder of the key. Store it with what you write and refuse smaller ones: it is
   * the only protection against a holder that was paused and does not know that it lost the lock. Readers who hold the
   * key together may have the same.
   */
  readonly fence: Fence;
}

/** Several locks that are held together: lost when one of them is, released together. */
export interface LeaseSet<Fence extends bigint | undefined = bigint> extends Holding {
  /** Each once, in the order in which they were taken. */
  readonly keys: readonly string[];
  /** One for each of {@link keys}, in that order. Each key has a fence of its own. */
  readonly leases: readonly Lease<Fence>[];
  /** @throws LockKeyError when the key is not one of the set */
  of(key: string): Lease<Fence>;
}

/** A lease of any store. */
export type AnyLease = Lease<bigint | undefined>;
