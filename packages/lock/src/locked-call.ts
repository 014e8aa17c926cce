import { type CallOutcome, openSpan } from '@lockstep/core';
import type { LeaseScope } from './lease/lease-scope.js';
import type { LockKeys } from './lock.service.js';

/** A lock around a call or a stream, in a span that lasts as long. */
export type LockedCall<Held = unknown> = Pick<LeaseScope<Held>, 'lease' | 'run' | 'close'>;

/** @throws as `LockService.enter` */
export async function openLockedCall<Held>(
  keys: LockKeys,
  enter: () => Promise<LeaseScope<Held>>,
): Promise<LockedCall<Held>> {
  const span = openSpan('lockstep.lock', { 'lockstep.lock.key': String(keys) });
  let scope: LeaseScope<Held>;
  try {
    scope = await span.run(enter);
  } catch (error) {
    span.end(error);
    throw error;
  }
  const close = async (outcome: CallOutcome): Promise<void> => {
    try {
      await span.run(() => scope.close(outcome));
    } catch (error) {
      span.end(error);
      throw error;
    }
    if (outcome.status === 'failed') span.end(outcome.error);
    else span.end();
  };
  return { lease: scope.lease, run: (fn) => span.run(() => scope.run(fn)), close };
}

/** Runs `work` under the lock. An error of it passes through as it is. @throws LockLostError as `LockService.using` */
export async function runLocked<Held, T>(call: LockedCall<Held>, work: (lease: Held) => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await call.run(async () => work(call.lease));
  } catch (error) {
    await call.close({ status: 'failed', error });
    throw error;
  }
  await call.close({ status: 'completed', result });
  return result;
}
