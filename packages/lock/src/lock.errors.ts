import { LockstepError } from '@lockstep/core';
import type { StoreLoss } from './lock-store.js';

/** Where the store does not know the rest of the other's lease. */
const RETRY_AFTER_MS = 1_000;

/**
 * Somebody else holds the lock, and still did when the wait was over. HTTP 423 with `Retry-After`: the rest of the
 * other's lease, or a second where the store does not know it.
 */
export class LockBusyError extends LockstepError {
  constructor(
    readonly key: string,
    waitedMs: number,
    remainingMs: number,
  ) {
    super({
      code: 'LOCK_BUSY',
      kind: 'busy',
      message: `Lock '${key}' is held by another (waited ${Math.round(waitedMs)} ms)`,
      retryAfterMs: remainingMs > 0 ? remainingMs : RETRY_AFTER_MS,
      fields: { waitedMs: Math.round(waitedMs) },
    });
  }
}

/**
 * Why a lease ended before its holder did:
 * - `expired`: it was not extended in time; the process stood still, or its event loop did.
 * - `stolen`: the store says that the holder is another, or nobody: the key was deleted, an operator took the lock
 *   away, or the store lost its data.
 * - `backend`: the store could not be reached until the lease ended.
 * - `session`: the session that carried the lock has ended.
 * - `max-hold`: the lock was held for `maxHold`.
 * - `shutdown`: the application ended first.
 * - `released`: the lock was given back, by this holder or by the code whose hold it shared.
 */
export type LeaseLoss = StoreLoss | 'max-hold' | 'shutdown' | 'released';

const LOSS_TEXT: Record<LeaseLoss, string> = {
  expired: 'its lease ended before it could be extended',
  stolen: 'the store no longer knows this holder',
  backend: 'the store could not be reached until its lease ended',
  session: 'the session that carried it has ended',
  'max-hold': 'it was held for longer than maxHold',
  shutdown: 'the application shut down',
  released: 'it has been given back',
};

/**
 * The lock was lost while the work went on, so somebody else may have worked at the same time: whatever was written
 * without the fence is in doubt.
 */
export class LockLostError extends LockstepError {
  constructor(
    readonly key: string,
    readonly fence: bigint | undefined,
    readonly loss: LeaseLoss,
    /** What the guarded work returned, when it ran to its end. */
    readonly result?: unknown,
  ) {
    super({
      code: 'LOCK_LOST',
      kind: 'unknown',
      message: `Lock '${key}' was lost: ${LOSS_TEXT[loss]}`,
      fields: { loss, fence: fence?.toString() ?? null },
    });
  }
}

/** The same asynchronous context holds the lock already, in a way that cannot be shared: waiting would be for oneself. */
export class LockReentryError extends LockstepError {
  constructor(
    readonly key: string,
    reason: string,
  ) {
    super({
      code: 'LOCK_REENTRY',
      kind: 'misuse',
      message: `Lock '${key}' is already held by the caller of this call; ${reason}`,
    });
  }
}

/** The store of this lock cannot grant what was asked for. */
export class LockModeError extends LockstepError {
  constructor(key: string, store: string, mode: string) {
    super({
      code: 'LOCK_MODE_UNSUPPORTED',
      kind: 'misuse',
      message: `Lock '${key}' was asked for as ${mode}, which the ${store} store cannot grant`,
    });
  }
}

/** A key that no lock can have. */
export class LockKeyError extends LockstepError {
  constructor(reason: string) {
    super({ code: 'LOCK_KEY_INVALID', kind: 'misuse', message: `A lock's key must be ${reason}` });
  }
}

/** The application is shutting down and grants no locks any longer. */
export class LockShuttingDownError extends LockstepError {
  constructor(readonly key: string) {
    super({
      code: 'LOCK_SHUTTING_DOWN',
      kind: 'unavailable',
      message: `Lock '${key}' was not taken: the application is shutting down`,
      retryAfterMs: 1_000,
    });
  }
}
