import { AsyncResource } from 'node:async_hooks';

const root = new AsyncResource('lockstep.lock');

/**
 * Runs `fn` outside every lease and request. A timer inherits the context of whoever happened to arm it, and a listener
 * that of whoever happened to cause the event: under the lease of another, it would be given that lock once more.
 */
export function outsideLeases<T>(fn: () => T): T {
  return root.runInAsyncScope(fn);
}
