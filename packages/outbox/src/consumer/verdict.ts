import { types } from 'node:util';
import { isLockstepError } from '@lockstep/core';
import { isConflict, isLockTimeout } from '@lockstep/sql';
import type { DeliveryOutcome } from '../message-transport.js';
import { MESSAGE_REFUSED } from '../outbox.errors.js';
import type { BlockedKeys } from './blocked-keys.js';
import { isOutOfSequence, isOutOfTurn } from './gate.errors.js';
import type { RetryPauses } from './retry-pauses.js';

// By its code, which is the same in every copy of the package.
const COMMIT_OUTCOME_UNKNOWN = 'COMMIT_OUTCOME_UNKNOWN';

/** What becomes of a delivery whose transaction was rolled back, or whose commit is not known. */
export function verdictOn(
  error: unknown,
  attempt: number,
  attempts: number,
  pauses: RetryPauses,
  blocked: BlockedKeys,
): DeliveryOutcome {
  if (isOutOfTurn(error)) return { outcome: 'postpone', delayMs: blocked.pauseFor(error), error };
  if (isOutOfSequence(error) || codeOf(error) === MESSAGE_REFUSED) return { outcome: 'dead', error };
  if (isDatabaseConflict(error)) return { outcome: 'postpone', delayMs: pauses.afterAttempt(1), error };
  if (isNoFaultOfTheMessage(error)) return { outcome: 'postpone', delayMs: pauses.afterOutage(), error };
  if (attempt >= attempts) return { outcome: 'dead', error };
  return { outcome: 'retry', delayMs: pauses.afterAttempt(attempt), error };
}

/** Whether the gate or Lockstep itself decided, so that there is nothing to show to the application's filters. */
export function isDecidedByGate(error: unknown): boolean {
  return isOutOfTurn(error) || isOutOfSequence(error);
}

/** Somebody else was at it, or a server was away, or nobody knows: the inbox will tell. None of it is poison. */
export function isNoFaultOfTheMessage(error: unknown): boolean {
  if (isDatabaseConflict(error)) return true;
  if (!isLockstepError(error)) return false;
  return error.kind === 'busy' || error.kind === 'unavailable' || error.code === COMMIT_OUTCOME_UNKNOWN;
}

/**
 * A lock timeout, too: a copy waits in the inbox for the one that is being handled. A handler may throw anything, also
 * what throws when it is looked at; a native error is none of those.
 */
function isDatabaseConflict(error: unknown): boolean {
  return types.isNativeError(error) && (isConflict(error) || isLockTimeout(error));
}

function codeOf(error: unknown): string | undefined {
  return isLockstepError(error) ? error.code : undefined;
}
