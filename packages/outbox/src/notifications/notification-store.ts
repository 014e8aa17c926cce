import type { SqlTransaction } from '@lockstep/sql';
import type { Attempt, NotificationState, NotificationStatus } from './notification.js';

/** A notification to be written; the store sets the times. */
export interface NotificationRecord {
  readonly id: string;
  /** The id of a registered endpoint, or the one that stands for `url`. */
  readonly endpoint: string;
  /** Where it goes that belongs to no registered endpoint. */
  readonly url: string | undefined;
  readonly type: string;
  /** The exact text that is signed and sent. */
  readonly body: string;
  /** How long the first attempt waits. */
  readonly delayMs: number;
}

/**
 * `duplicate`: the same id stands there for the same endpoint and type, so there was nothing to do. `conflict`: it stands
 * there for another endpoint or type. `unknown-endpoint`: no such endpoint is registered, and there is no `url`.
 */
export type AppendOutcome = 'appended' | 'duplicate' | 'conflict' | 'unknown-endpoint';

export interface EndpointSecret {
  /** `whsec_…` */
  readonly secret: string;
  /** Until when it is used, in epoch milliseconds on the store's clock; undefined for good. */
  readonly until: number | undefined;
}

/** The endpoint of notifications that are pending. */
export interface Lane {
  readonly endpoint: string;
  /** Undefined where no endpoint is registered: its notifications have their own. */
  readonly url: string | undefined;
  readonly secrets: readonly EndpointSecret[];
  readonly isDisabled: boolean;
  /** Whether its last attempt failed. */
  readonly isFailing: boolean;
  /** As in {@link EndpointRecord}; 0 where nothing is known of the endpoint. */
  readonly version: number;
  /** Until its first notification is due and the endpoint not paused; 0 or less is now. */
  readonly dueInMs: number;
}

export interface ClaimRequest {
  readonly endpoint: string;
  readonly limit: number;
  /** For how long nobody else gets what is claimed. */
  readonly leaseMs: number;
}

export interface ClaimedNotification {
  readonly id: string;
  readonly endpoint: string;
  readonly url: string | undefined;
  readonly body: string;
  /** The how-manieth attempt of its schedule this is, from 1; those whose process died count. */
  readonly attempt: number;
  /** Goes up with every claim: who settles with an older one comes too late. */
  readonly epoch: number;
  /** What came of the earlier attempts. */
  readonly attempts: readonly Attempt[];
  /** When it was claimed, in epoch milliseconds on the store's clock. */
  readonly claimedAt: number;
}

export type NotificationSettlement = Pick<ClaimedNotification, 'id' | 'epoch'> &
  (
    | { readonly outcome: 'delivered'; readonly attempts: readonly Attempt[] }
    | {
        readonly outcome: 'exhausted' | 'cancelled';
        readonly attempts: readonly Attempt[];
        readonly reason: string;
      }
    | { readonly outcome: 'retry'; readonly attempts: readonly Attempt[]; readonly delayMs: number }
    /** The attempt was not made, or broken off by a shutdown: due at once, and not counted. */
    | { readonly outcome: 'released' }
  );

/**
 * Port: where notifications stand until they are finished, and for a while after.
 *
 * ```
 * pending --claim--> claimed --settle--> delivered | exhausted | cancelled
 *    ^                  |  '-- retry | released, or the lease ends --> pending
 *    '------ replay ----+---- finished
 * ```
 *
 * Contract:
 * - `append` is part of `transaction`: what it writes exists exactly when the transaction commits, truncated with the
 *   savepoint it was written in.
 * - The store's clock decides what is due, leased, paused and disabled.
 * - `lanes` gives the endpoints that have pending notifications, the earliest due first, disabled ones included. Its cost
 *   grows with the number of such endpoints and not with that of notifications.
 * - `claim` is one atomic step: two at the same time never return the same notification, and none waits for another.
 *   What is claimed is due again when the lease ends.
 * - `settle` does nothing and gives false when the epoch is not the current one, or the notification is finished.
 * - `cancelPending` finishes what is pending for an endpoint and not in somebody's hands; at most `limit`, and nothing of
 *   an endpoint that is not disabled: who believes it is may be late.
 * - Everything but `append` and `receipts.receive` rejects with `StoreUnavailableError` while the server cannot be
 *   reached. Those two pass the database's own errors.
 */
export interface NotificationStore {
  append(transaction: SqlTransaction, record: NotificationRecord): Promise<AppendOutcome>;
  lanes(limit: number): Promise<readonly Lane[]>;
  claim(request: ClaimRequest): Promise<readonly ClaimedNotification[]>;
  settle(settlement: NotificationSettlement): Promise<boolean>;
  cancelPending(endpoint: string, reason: string, limit: number): Promise<number>;
  readonly endpoints: EndpointStore;
  readonly receipts: ReceiptStore;
  /** What people and alarms ask of the store. */
  readonly operations: NotificationOperations;
}

/** Times are epoch milliseconds on the store's clock. */
export interface EndpointRecord {
  readonly id: string;
  readonly url: string;
  readonly secrets: readonly EndpointSecret[];
  readonly disabledAt: number | undefined;
  readonly disabledReason: string | undefined;
  readonly failingSince: number | undefined;
  /** Goes up when url or secrets change, and when it is enabled; of one that nobody registered down, from 0. */
  readonly version: number;
}

/** An endpoint as an attempt saw it: what came of that says nothing about one that was changed or enabled since. */
export interface EndpointSeen {
  readonly endpoint: string;
  /** Of an endpoint that is not registered; how it behaves is remembered all the same. Without one, nothing is. */
  readonly url: string | undefined;
  /** Of the lane. */
  readonly version: number;
}

export interface EndpointFailure extends EndpointSeen {
  /** Failures that are further apart do not belong together, and the count begins anew. */
  readonly gapMs: number;
  /** An endpoint that has failed for so long is disabled. */
  readonly disableAfterMs: number;
}

/**
 * Port: the receivers. An endpoint is failing from its first failure after a success; failures belong together while no
 * two of them are further apart than `gapMs`. It is disabled by the first failure that comes `disableAfterMs` after the
 * first one. What takes an {@link EndpointSeen} does nothing when the endpoint has another version by now.
 */
export interface EndpointStore {
  find(id: string): Promise<EndpointRecord | undefined>;
  /** In the order of the ids, those behind `after`. */
  list(after: string | undefined, limit: number): Promise<readonly EndpointRecord[]>;
  /**
   * Writes url and secrets of a new endpoint (`version` 0), or of one that still has this version. False when it has
   * another one by now.
   */
  write(endpoint: Pick<EndpointRecord, 'id' | 'url' | 'secrets' | 'version'>): Promise<boolean>;
  /** False when there is no such endpoint. One that is enabled has no failures behind it. */
  disable(id: string, reason: string): Promise<boolean>;
  enable(id: string): Promise<boolean>;
  /** Forgets a registered endpoint that is disabled and has nothing pending. False when there is no such one. */
  remove(id: string): Promise<boolean>;
  /** Notes that an attempt failed. True when that has just disabled the endpoint. */
  failed(failure: EndpointFailure): Promise<boolean>;
  /** Notes that an attempt succeeded. */
  succeeded(seen: EndpointSeen): Promise<void>;
  /** No lane of this endpoint is due before that time has passed; a longer pause stays. False when the endpoint has another version by now. */
  pause(seen: EndpointSeen, forMs: number): Promise<boolean>;
  /** Disables also one that is not registered. False when the endpoint has another version by now. */
  gone(seen: EndpointSeen, reason: string): Promise<boolean>;
  /** Forgets at most 1 000 endpoints that are not registered and whose last failure is older. Returns how many. */
  purge(olderThanMs: number): Promise<number>;
}

/** Port: which webhooks were received. */
export interface ReceiptStore {
  /**
   * True for the first copy in a transaction that commits; false for every other. Where another process handles a copy,
   * waits for its end.
   *
   * @param idHash 64 hexadecimal digits
   */
  receive(transaction: SqlTransaction, receiver: string, idHash: string): Promise<boolean>;
  /** Forgets at most 1 000 that are older. Returns how many. */
  purge(olderThanMs: number): Promise<number>;
}

export interface ReplayRequest {
  readonly endpoint: string;
  /** By the time when they were sent, epoch milliseconds; the lower end belongs to the range. */
  readonly from: number;
  readonly to: number;
  readonly states: readonly Exclude<NotificationState, 'pending'>[];
  /** Only what was finished before, so that what is delivered meanwhile is not replayed again. */
  readonly finishedBefore: number;
  readonly limit: number;
}

/** Counts go up to 10 000: a health check must not read a backlog of millions. */
export interface NotificationFacts {
  /** How late the notification is that has been due for longest, of endpoints that are neither disabled nor paused. */
  readonly oldestDueMs: number;
  readonly pending: number;
  readonly exhausted: number;
  readonly disabledEndpoints: number;
}

export interface NotificationOperations {
  find(id: string): Promise<NotificationStatus | undefined>;
  /** Makes finished ones pending, with a new schedule. Returns how many; as many as the limit means there may be more. */
  replay(request: ReplayRequest): Promise<number>;
  facts(): Promise<NotificationFacts>;
  /** Epoch milliseconds. */
  clockMs(): Promise<number>;
  /** Forgets at most 1 000 that were finished longer ago. Returns how many. */
  purge(olderThanMs: number): Promise<number>;
}

export const NOTIFICATION_STORE = Symbol('@lockstep/outbox:NOTIFICATION_STORE');
