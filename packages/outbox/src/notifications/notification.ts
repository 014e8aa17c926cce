/**
 * ```
 * pending --2xx--> delivered
 *         --failed, and it was the last attempt--> exhausted
 *         --410, or the endpoint is disabled--> cancelled
 * delivered | exhausted | cancelled --replay--> pending, with a new schedule
 * ```
 */
export type NotificationState = 'pending' | 'delivered' | 'exhausted' | 'cancelled';

/** What came of one attempt that came to an end; of one whose process died nothing is known. */
export interface Attempt {
  /** When it began, in epoch milliseconds on the store's clock. */
  readonly at: number;
  readonly durationMs: number;
  /** What the receiver answered; undefined where no answer came. */
  readonly status: number | undefined;
  /** Why it failed, at most 300 characters; for the operator, it may name addresses of the inside. */
  readonly error: string | undefined;
}

/** Where a notification stands. Times are epoch milliseconds on the store's clock. */
export interface NotificationStatus {
  /** What the receiver knows as `webhook-id`. */
  readonly id: string;
  readonly endpoint: string;
  readonly type: string;
  readonly state: NotificationState;
  /** Why it was cancelled or given up. */
  readonly reason: string | undefined;
  readonly createdAt: number;
  /** When it is tried next; undefined once it is finished. */
  readonly dueAt: number | undefined;
  readonly finishedAt: number | undefined;
  /** The latest ones, at most 20, oldest first. */
  readonly attempts: readonly Attempt[];
}

/** Of one secret of an endpoint: everything but the secret. */
export interface EndpointSecretInfo {
  /** Until when it signs beside the newest one, in epoch milliseconds; undefined for the newest. */
  readonly until: number | undefined;
}

/** A receiver as people see it: its secrets stay in the store. */
export interface NotificationEndpoint {
  readonly id: string;
  readonly url: string;
  readonly secrets: readonly EndpointSecretInfo[];
  readonly disabledAt: number | undefined;
  readonly disabledReason: string | undefined;
  /** Since when nothing but failures came back; undefined while the last attempt succeeded. */
  readonly failingSince: number | undefined;
}
