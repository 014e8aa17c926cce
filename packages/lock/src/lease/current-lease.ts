import { AsyncLocalStorage } from 'node:async_hooks';
import type { Lease } from './lease.js';

/** The leases that enclose the running code, innermost first. */
interface LeaseScope {
  readonly lease: Lease;
  /** Whose keys these are: two applications in one process may have different stores. */
  readonly keeper: object;
  readonly outer: LeaseScope | undefined;
}

const scopes = new AsyncLocalStorage<LeaseScope>();

/**
 * The innermost lease that the running code was called under, by `@DistributedLock` or `LockService.using`. Code that
 * outlives the guarded call still sees it, as no longer held.
 */
export function currentLease(): Lease | undefined {
  return scopes.getStore()?.lease;
}

export function runUnderLease<T>(lease: Lease, keeper: object, fn: () => Promise<T>): Promise<T> {
  return scopes.run({ lease, keeper, outer: scopes.getStore() }, fn);
}

/** Whether the running code was called under a lease of this key that is still held. */
export function isHeldByCaller(key: string, keeper: object): boolean {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    if (scope.lease.key === key && scope.keeper === keeper && scope.lease.isHeld()) return true;
  }
  return false;
}
