import type { Incidents } from '@lockstep/core';
import { OperationResultUnavailableError } from './idempotency.errors.js';
import type { IdempotencyEvents } from './idempotency-events.js';
import type { BeginRequest } from './idempotency-store.js';
import type { ResponseVault } from './response-vault.js';

/** What an answer is, to the vault that keeps it. */
export const ANSWER = 'answer';

export interface ReplayTools {
  readonly vault: ResponseVault;
  readonly events: IdempotencyEvents;
  readonly incidents: Incidents;
}

/**
 * The answer as it was given, of what the store has.
 *
 * @throws OperationResultUnavailableError when it is encrypted with a key that is not there
 */
export function replayedAnswer(
  { vault, events, incidents }: ReplayTools,
  { id, operation }: Pick<BeginRequest, 'id' | 'operation'>,
  stored: string,
): string {
  try {
    const response = vault.open(id, ANSWER, stored);
    events.emit({ type: 'replayed', id, operation });
    return response;
  } catch (cause) {
    const message = `the answer of ${operation} cannot be decrypted; its repetition is refused`;
    incidents.report({ code: 'ANSWER_NOT_DECRYPTED', source: 'idempotency.run', message, cause });
    throw new OperationResultUnavailableError();
  }
}
