import type { BeginRequest, Claim, IdempotencyStore } from './idempotency-store.js';

/**
 * Ability: whoever waits for an operation is told when it changes, instead of asking again and again. A store without it
 * is asked again at growing pauses.
 */
export interface PushingStore {
  /**
   * Calls `heard` after the operation was settled, by whichever process, if its record knows of somebody who waits: see
   * {@link BeginRequest.isWaiting}. That a lease ends is not announced: who waits knows when it does. May call it once too often, never once too rarely while the
   * connection stands; after a reconnection it calls it once, because something may have been missed.
   *
   * Resolves when a change from now on is heard. What it resolves to ends the watch and never rejects.
   *
   * @throws StoreUnavailableError when the store does not answer
   */
  watch(id: string, heard: () => void): Promise<() => Promise<void>>;
}

/**
 * Ability: results of steps are kept with the claim, so that the next owner goes on after them (recovery points).
 *
 * - Steps live as long as the record does: over a lost lease, a release and an adoption, until the operation is completed,
 *   settled or resolved as released with nothing applied, or forgotten.
 * - `begin` and `adopt` hand them to whoever acquires.
 */
export interface StepStore {
  /**
   * Keeps the result of a step, for ever the first one of its name. False: the claim is not this owner's, or settled;
   * nothing was changed.
   *
   * @param step at most 100 characters
   * @param result opaque to the store
   */
  saveStep(claim: Claim, step: string, result: string): Promise<boolean>;
}

/** A claim on an operation that its owner has abandoned. */
export interface AdoptRequest extends Pick<BeginRequest, 'id' | 'owner' | 'leaseMs' | 'retentionMs'> {}

export type AdoptOutcome =
  | {
      readonly outcome: 'acquired';
      readonly fence: bigint;
      readonly steps: Steps;
      /** How long the answer is to be kept: as asked, or as the operation was begun with, where that is longer. */
      readonly retentionMs: number;
    }
  /** It is not uncertain (any more). Nothing was changed. */
  | { readonly outcome: 'gone' };

/** Results by name of step, in no order. */
export type Steps = Readonly<Record<string, string>>;

/**
 * Ability: an uncertain operation is taken over by somebody who knows how to finish it.
 *
 * `uncertain --adopt--> running (next owner, next fence, recovered)`, in one step. The former owner has no say any more.
 * Payload, policy and steps stay. Repeated by the same owner it answers as the first time.
 */
export interface AdoptingStore {
  adopt(request: AdoptRequest): Promise<AdoptOutcome>;
}

/** What the answer and the effect of one call are when both are part of one transaction. */
export interface TransactionalWork<T> {
  /** What repetitions get. Undefined: none, because something outside of the database may have happened: uncertain. */
  readonly response: string | undefined;
  readonly value: T;
  /**
   * `keep`: commit what was done, with the answer. `undo`: roll back what was done, but commit claim and answer, so that
   * a stored refusal is not executed again (H7a).
   */
  readonly effects: 'keep' | 'undo';
}

/** One run of the work; there are several where the database refuses to serialize them. */
export interface TransactionalRun {
  /** Rises with every run. */
  readonly fence: bigint;
  /** An earlier run was rolled back by the database, or an owner with a lease began the operation and vanished. */
  readonly recovered: boolean;
}

export type TransactionIsolation = 'read committed' | 'repeatable read' | 'serializable';

export interface TransactionalRequest
  extends Pick<BeginRequest, 'id' | 'fingerprint' | 'owner' | 'operation' | 'retentionMs' | 'requiresIssue'> {
  /** How long to wait for another transaction that has the key. 0: not at all. */
  readonly waitMs: number;
  /** Undefined: the server's default. */
  readonly isolation?: TransactionIsolation | undefined;
  /** Ends the wait, which is then `busy`, never the work: at once in this process, within seconds at the server. */
  readonly signal?: AbortSignal | undefined;
}

export type TransactionalOutcome<T> =
  | { readonly outcome: 'executed'; readonly value: T }
  | { readonly outcome: 'completed'; readonly response: string }
  | { readonly outcome: 'mismatch' }
  /** It had to be issued before, and was not, or so long ago that it is forgotten. */
  | { readonly outcome: 'absent' }
  /** Another transaction had the key for longer than `waitMs`, or an owner has it under a lease that still runs. */
  | { readonly outcome: 'busy' }
  /** Nobody knows whether it took effect: work said so, or an owner with a lease left it, from before this mode. */
  | { readonly outcome: 'uncertain' };

/**
 * Ability: claim, effect and answer are one SQL transaction, which the store begins and commits. A crash before the
 * commit leaves nothing, one after it leaves the answer; there is no lease and nothing can be uncertain but the commit.
 */
export interface TransactionalStore {
  /**
   * Runs `work` in a transaction that everything it awaits can find, at most once per operation.
   *
   * - Resolves to `executed` only after a commit that is known to have happened.
   * - Rejects with what `work` throws, by identity, after rolling everything back, the claim included.
   * - Where the database cannot serialize the transaction, or chose it as the victim of a deadlock, everything is rolled
   *   back and `work` runs again in a new one, a few times. So it must have no effects but those of the transaction.
   * - A duplicate waits for the first transaction and then compares payloads: while one of another process is open its
   *   payload cannot be seen, so `busy` may come where `mismatch` would be right.
   * - A duplicate of the same process waits without a connection of its own, so that duplicates cannot starve the owner.
   *
   * @throws CommitOutcomeUnknownError when the answer to COMMIT was lost
   * @throws StoreUnavailableError when the database does not answer: nothing was applied
   * @throws OperationContendedError when it could not be serialized however often it ran: nothing was applied
   * @throws TransactionMisuseError inside of an open transaction: the answer would be given before that one commits, and
   * would be gone if it does not
   */
  transact<T>(
    request: TransactionalRequest,
    work: (run: TransactionalRun) => Promise<TransactionalWork<T>>,
  ): Promise<TransactionalOutcome<T>>;
}

/**
 * Ability: operations exist only once they were issued (anti-resubmit tokens).
 *
 * `(none) --issue--> issued --begin--> running …`; an issued operation that nobody begins ends by itself. It has no
 * fingerprint yet. `begin` with `requiresIssue` on no record is `absent`; without `requiresIssue` an issued operation is
 * claimed like a new one.
 */
export interface TokenStore {
  /** Lets an operation begin within `ttlMs`. Issued again, it lives from now; one that has begun is left as it is. */
  issue(id: string, ttlMs: number): Promise<void>;
  /** Makes `token` the only one of `slot` for `ttlMs`; the one before is void. Both are hashes. */
  issueSingle(slot: string, token: string, ttlMs: number): Promise<void>;
  /** Compare and delete in one step: true for exactly one caller, and only while `token` is the one of `slot`. */
  takeSingle(slot: string, token: string): Promise<boolean>;
}

export function issuesTokens(store: IdempotencyStore): store is IdempotencyStore & TokenStore {
  return 'issue' in store;
}

export function isPushing(store: IdempotencyStore): store is IdempotencyStore & PushingStore {
  return 'watch' in store;
}

export function keepsSteps(store: IdempotencyStore): store is IdempotencyStore & StepStore {
  return 'saveStep' in store;
}

export function isAdopting(store: IdempotencyStore): store is IdempotencyStore & AdoptingStore {
  return 'adopt' in store;
}

export function isTransactional(store: IdempotencyStore): store is IdempotencyStore & TransactionalStore {
  return 'transact' in store;
}
