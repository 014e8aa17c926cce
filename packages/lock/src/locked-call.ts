import { type CallOutcome, openSpan } from '@lockstep/core';
import type { LeaseScope } from './lease/lease-scope.js';
import { LockBusyError } from './lock.errors.js';
import type { LockOptions } from './lock.options.js';
import type { LockKeys, LockService } from './lock.service.js';

/** A lock around a call or a stream, in a span that lasts as long. */
export type LockedCall = Pick<LeaseScope, 'lease' | 'run' | 'close'>;

/** @throws as `LockService.enter` */
export async function openLockedCall(locks: LockService, keys: LockKeys, options: LockOptions): Promise<LockedCall> {
  const span = openSpan('lockstep.lock', { 'lockstep.lock.key': String(keys) });
  let scope: LeaseScope;
  try {
    scope = await span.run(() => locks.enter(keys, options));
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

/** Runs `work` under the lock, or `onBusy` in its place; a busy lock further inside is the work's own error. */
export async function runLocked(
  opening: Promise<LockedCall>,
  work: (lease: unknown) => Promise<unknown>,
  onBusy: ((busy: LockBusyError) => unknown) | undefined,
): Promise<unknown> {
  let call: LockedCall;
  try {
    call = await opening;
  } catch (error) {
    if (onBusy && error instanceof LockBusyError) return onBusy(error);
    throw error;
  }
  let result: unknown;
  try {
    result = await call.run(async () => work(call.lease));
  } catch (error) {
    await call.close({ status: 'failed', error });
    throw error;
  }
  await call.close({ status: 'completed', result });
  return result;
}
