import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import type { IdempotencyContext } from '../execution.js';
import type { KnownOutcome } from '../operator-verdict.js';

/** An operation whose owner has vanished or did not know how it ended, as its completer sees it. */
export interface AbandonedOperation extends IdempotencyContext {
  /** What was being done: `POST /orders`. */
  readonly operation: string;
  /** Since when it is uncertain: epoch milliseconds of the store's clock. */
  readonly sinceAt: number;
  /** The result of a step that an earlier run has stored by `phase`; undefined where it has not come so far. */
  step<T>(name: string): T | undefined;
}

/** Finishes an operation, and says what repetitions get. */
export type Completer = (abandoned: AbandonedOperation) => Promise<KnownOutcome>;

const OPERATIONS = 'lockstep:idempotency-completer';

/**
 * The method finishes abandoned operations of this name: those that are uncertain for longer than `completeAfter`. One
 * process at a time is at one operation, under a lease and with the next fence; the client need not come back.
 *
 * What it returns is the answer that repetitions get: `{ answer: { status, body } }` for a request, `{ result }` for
 * other calls. `throw new NotApplied(…)` says that nothing had happened: the key is free again. Any other error leaves
 * the operation uncertain, to be tried again after `completeAfter`.
 *
 * The arguments of the first call are not kept: store what the completer needs as a step,
 * `await currentIdempotency()?.phase('order', async () => dto)`.
 *
 * @param operation as `listUncertain()` shows it: `POST /orders/:id`, or the `operation` of `service.run()`
 */
export function IdempotencyCompleter(
  operation: string,
): <Method extends Completer>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void {
  if (typeof operation !== 'string' || operation === '') {
    throw ConfigurationError.option('operation', operation, 'the name of an operation, such as POST /orders');
  }
  return (_target, _property, descriptor) => {
    const method = descriptor.value as object;
    Reflect.defineMetadata(OPERATIONS, [...operationsOf(method), operation], method);
  };
}

/** The operations that a method completes. */
export function operationsOf(method: object): readonly string[] {
  return (Reflect.getOwnMetadata(OPERATIONS, method) as readonly string[] | undefined) ?? [];
}
