import { type KeyObject, randomUUID } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { fingerprint } from './fingerprint.js';
import { OperationInvalidError } from './idempotency.errors.js';
import type { ResolvedIdempotencyOptions } from './idempotency.options.js';
import type { BeginRequest } from './idempotency-store.js';
import type { ExecutionPolicy, Operation } from './operation.js';
import { operationId } from './operation-id.js';

/** Longer than a caller waits for the store, shorter than a delayed packet may live. */
const BEGIN_APPLIES_WITHIN_MS = 5_000;
const LONGEST_KEY = 1_024;
/** Beyond it, Node's timers fire at once. */
const MAX_TIMER_MS = 2_147_483_647;
/** Keys are printed and compared by people; what cannot be seen is a mistake of the caller. */
const CONTROL = /\p{Cc}/u;
/** Halves of characters: as UTF-8 they are all the same, so that two callers would share a key. */
const BROKEN = /\p{Cs}/u;

/**
 * A new claim on an operation, as the store is asked for it.
 *
 * @throws OperationInvalidError before anything is sent
 * @throws ConfigurationError where the policy has times that are none
 */
export function beginRequest(
  operation: Operation,
  policy: ExecutionPolicy,
  options: ResolvedIdempotencyOptions,
  secret: KeyObject,
): BeginRequest {
  checkOperation(operation);
  checkPolicy(policy);
  return {
    id: operationId(operation),
    fingerprint: fingerprintOf(secret, operation.payload),
    owner: randomUUID(),
    operation: operation.operation,
    leaseMs: options.leaseMs,
    retentionMs: policy.retentionMs ?? options.retentionMs,
    onLeaseExpiry: policy.onLeaseExpiry ?? options.onLeaseExpiry,
    applyWithinMs: BEGIN_APPLIES_WITHIN_MS,
    requiresIssue: policy.requiresIssue ?? false,
  };
}

/** A program without types may pass anything, and two callers without a key must not share one. */
function checkOperation({ scope, operation, key }: Readonly<Record<keyof Operation, unknown>>): void {
  if (typeof scope !== 'string' || scope === '' || BROKEN.test(scope))
    throw new OperationInvalidError('scope', 'is no well-formed text');
  if (typeof operation !== 'string' || operation === '') throw new OperationInvalidError('operation', 'is no name');
  if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY || CONTROL.test(key) || BROKEN.test(key)) {
    throw new OperationInvalidError(
      'key',
      `is no string of 1 to ${LONGEST_KEY} well-formed characters without control characters`,
    );
  }
}

/** A retention of nothing would free the key as soon as it is answered; a fraction is no time to live to Redis. */
function checkPolicy({ retentionMs, waitMs }: ExecutionPolicy): void {
  if (retentionMs !== undefined && !(Number.isSafeInteger(retentionMs) && retentionMs >= 1)) {
    throw ConfigurationError.option('retentionMs', retentionMs, 'a whole number of milliseconds from 1');
  }
  if (waitMs !== undefined && !(waitMs >= 0 && waitMs <= MAX_TIMER_MS)) {
    throw ConfigurationError.option('waitMs', waitMs, `milliseconds from 0 to ${MAX_TIMER_MS}`);
  }
}

function fingerprintOf(secret: KeyObject, payload: unknown): string {
  try {
    return fingerprint(secret, payload);
  } catch (cause) {
    throw new OperationInvalidError(
      'payload',
      'is no plain data, so that no other payload could be told from it',
      cause,
    );
  }
}
