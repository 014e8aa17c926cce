/** What happens to an operation whose owner let its lease end. */
export type LeaseExpiryPolicy = 'uncertain' | 'retry';

/** A claim as it is asked for. */
export interface BeginRequest {
  /** Identity of the operation: {@link operationId} of scope, operation and key. Never the raw key. */
  readonly id: string;
  /** Keyed digest of the payload, compared byte by byte. */
  readonly fingerprint: string;
  /** Random token of this attempt, a UUID. The same owner may begin twice: a client library may send twice. */
  readonly owner: string;
  /** What is being done, for operators: `POST /orders`. Bounded and from the program, not from the caller. */
  readonly operation: string;
  readonly leaseMs: number;
  /** How long the answer, or the memory of a release, is kept. */
  readonly retentionMs: number;
  readonly onLeaseExpiry: LeaseExpiryPolicy;
  /**
   * A begin that reaches the store later than this after the call takes no effect, because nobody would wait for it any
   * more: the caller has long been told that the store is down.
   */
  readonly applyWithinMs: number;
  /**
   * The caller watches the operation and will wait for it: where the answer is `busy`, the record remembers that its
   * next change is to be announced. Only for stores that push; see `PushingStore`.
   */
  readonly isWaiting?: boolean;
  /** Only what was issued may begin: see `TokenStore`. Without a record the answer is `absent`. */
  readonly requiresIssue?: boolean;
}

/** Who holds a claim. Every change after `begin` names it. */
export interface Claim {
  readonly id: string;
  readonly owner: string;
}

export interface Renewal extends Claim {
  readonly leaseMs: number;
  readonly retentionMs: number;
}

/**
 * `lost`: somebody else has the operation by now, or it is settled. `unknown`: this item failed while others did not; it
 * may be renewed again.
 */
export type RenewalOutcome = 'renewed' | 'lost' | 'unknown';

/** How a claim ends. `response` is opaque to the store. */
export type Settlement =
  | { readonly to: 'completed'; readonly response: string; readonly retentionMs: number }
  /**
   * `notApplied`: this claim did nothing at all, so that the key may even be used for another payload, unless an earlier
   * claim was released otherwise or vanished: what that one may have done is still bound to its payload.
   */
  | { readonly to: 'released'; readonly notApplied: boolean; readonly retentionMs: number }
  | { readonly to: 'uncertain' };

export type BeginOutcome =
  /** The caller owns the operation. `recovered`: some earlier owner began it and vanished, and none completed it since. */
  | {
      readonly outcome: 'acquired';
      readonly fence: bigint;
      readonly recovered: boolean;
      /** What earlier owners have stored, in a store that keeps steps; undefined where there is nothing. */
      readonly steps?: Readonly<Record<string, string>> | undefined;
    }
  | { readonly outcome: 'completed'; readonly response: string }
  /** Another owner is at it; its lease ends, unless it is renewed, in `retryAfterMs`. */
  | { readonly outcome: 'busy'; readonly retryAfterMs: number }
  /** The key was used for another payload. */
  | { readonly outcome: 'mismatch' }
  | { readonly outcome: 'uncertain' }
  /** It had to be issued before, and was not, or so long ago that it is forgotten. Nothing was changed. */
  | { readonly outcome: 'absent' }
  /** It came after `applyWithinMs`, or after this owner's claim was already settled. Nothing was changed. */
  | { readonly outcome: 'late' };

/** An operation of which nobody knows whether it took effect. */
export interface UncertainOperation {
  readonly id: string;
  readonly operation: string;
  /** Epoch milliseconds of the store's clock. */
  readonly sinceAt: number;
}

/**
 * An operator's verdict on an uncertain operation. It is kept for `retentionMs`, or for as long as the operation was begun
 * with, where that is longer: what its caller was promised is not for the operator to shorten.
 */
export type Resolution =
  | { readonly to: 'completed'; readonly response: string; readonly retentionMs: number }
  | { readonly to: 'released'; readonly retentionMs: number };

/**
 * Port: one record per operation id, changed in atomic steps by the store's own clock.
 *
 * ```
 * (none) --begin--> running --settle--> completed | released | uncertain
 * running, lease over, 'retry'     --begin--> running (next owner, recovered)
 * running, lease over, 'uncertain' --begin | sweep--> uncertain
 * uncertain --settle or renew by its own owner | resolve--> completed | released | running (renew)
 * released --begin--> running;  completed | released --retention over--> (none)
 * ```
 *
 * Contract:
 * - `begin` decides a mismatch first, in every state that still knows a fingerprint; a released operation knows it
 *   unless nothing of it was ever applied.
 * - `begin` repeated by the owner of a running or uncertain claim is `acquired` with the same fence and a fresh lease.
 * - Fences of one id rise strictly, also over expiry, release and the deletion of the record.
 * - `renew` and `settle` change nothing unless the caller owns the claim; a lease that ended does not take the claim
 *   from its owner before somebody else has begun. `settle` repeated with the same target answers as the first time.
 * - An operation that was settled as uncertain has the policy `'uncertain'` from then on, whatever sets it running again:
 *   a renewal that was on its way, an adoption.
 * - A completed record is never overwritten within its retention. The record of a running operation outlives its
 *   lease; with policy `'uncertain'` running and uncertain records have no end of their own.
 * - Items of one batch fail alone.
 * - Every method rejects with `StoreUnavailableError` when the store does not answer; then it may have been applied.
 *
 * Abilities that only some stores have (pushed waits, stored steps, adoption, one transaction for everything) are
 * interfaces of their own in `store-abilities.ts`.
 */
export interface IdempotencyStore {
  begin(request: BeginRequest): Promise<BeginOutcome>;
  renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]>;
  /** Whether the claim is now settled as asked by this owner; false: somebody else has the say, nothing was changed. */
  settle(claim: Claim, settlement: Settlement): Promise<boolean>;
  /** Running operations of policy `'uncertain'` whose lease is over become uncertain. Answers how many did. */
  sweep(limit: number): Promise<number>;
  /** The uncertain operations, oldest first. */
  listUncertain(limit: number): Promise<readonly UncertainOperation[]>;
  /** False when the operation is not uncertain (any more). */
  resolve(id: string, resolution: Resolution): Promise<boolean>;
}

export const IDEMPOTENCY_STORE = Symbol('@lockstep/idempotency:IDEMPOTENCY_STORE');
