import { AsyncLocalStorage } from 'node:async_hooks';
import { HeldLease } from './held-lease.js';
import type { AnyLease, Lease } from './lease.js';
import type { NestedLease } from './nested-lease.js';

/** The leases that enclose the running code, innermost first. */
interface LeaseScope {
  readonly leases: readonly (HeldLease | NestedLease)[];
  /** Whose keys these are: two applications in one process may have different stores, and so may two locks of one. */
  readonly keeper: object;
  readonly outer: LeaseScope | undefined;
}

const scopes = new AsyncLocalStorage<LeaseScope>();

/**
 * The lease that the running code was called under, by `@DistributedLock` or `LockService.using`: the innermost, or
 * that of `key`. Of several keys that were taken together the innermost is the first. Code that outlives the guarded
 * call still sees it, as no longer held.
 *
 * Name `Fence` as undefined where the store has no fences.
 */
export function currentLease<Fence extends bigint | undefined = bigint>(key?: string): Lease<Fence> | undefined {
  return innermost(key) as Lease<Fence> | undefined;
}

export function runUnderLeases<T>(leases: LeaseScope['leases'], keeper: object, fn: () => T): T {
  return scopes.run({ leases, keeper, outer: enclosing() }, fn);
}

/** Work that starts itself anew from under its own lock would otherwise drag all of its past along. */
function enclosing(): LeaseScope | undefined {
  let scope = scopes.getStore();
  while (scope?.leases.every(({ isReleased }) => isReleased)) scope = scope.outer;
  return scope;
}

/** The lease of this key that the running code was called under, if it is still held. */
export function heldByCaller(key: string, keeper: object): HeldLease | undefined {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    if (scope.keeper !== keeper) continue;
    for (const lease of scope.leases) {
      if (lease.key !== key) continue;
      const held = lease instanceof HeldLease ? lease : lease.outer;
      if (held.isHeld()) return held;
    }
  }
  return undefined;
}

function innermost(key: string | undefined): AnyLease | undefined {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    const lease = key === undefined ? scope.leases[0] : scope.leases.find((one) => one.key === key);
    if (lease) return lease;
  }
  return undefined;
}
