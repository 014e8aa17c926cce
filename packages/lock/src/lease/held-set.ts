import { type LeaseLoss, LockKeyError, type LockLostError } from '../lock.errors.js';
import type { HeldLease, Losable } from './held-lease.js';
import type { LeaseSet } from './lease.js';
import type { NestedLease } from './nested-lease.js';

type OwnLease = HeldLease | NestedLease;

/** Several leases as one: the first that is lost is the loss of all. */
export class HeldSet implements LeaseSet<bigint | undefined>, Losable {
  private controller: AbortController | undefined;

  constructor(readonly leases: readonly OwnLease[]) {}

  get keys(): readonly string[] {
    return this.leases.map(({ key }) => key);
  }

  get deadline(): number {
    return Math.min(...this.leases.map(({ deadline }) => deadline));
  }

  get signal(): AbortSignal {
    void this.loss;
    this.controller ??= jointOf(this.leases);
    return this.controller.signal;
  }

  get loss(): LeaseLoss | undefined {
    return this.lost()?.loss;
  }

  of(key: string): OwnLease {
    const lease = this.leases.find((one) => one.key === key);
    if (!lease) throw new LockKeyError(`one of those that are held together (${this.keys.join(', ')}), not ${key}`);
    return lease;
  }

  isHeld(): boolean {
    return this.leases.every((lease) => lease.isHeld());
  }

  assertHeld(): void {
    for (const lease of this.leases) lease.assertHeld();
  }

  async extend(): Promise<void> {
    await Promise.all(this.leases.map((lease) => lease.extend()));
  }

  async release(): Promise<void> {
    await Promise.all(this.leases.map((lease) => lease.release()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  lostError(result?: unknown): LockLostError {
    const lease = this.lost() ?? this.leases[0];
    if (!lease) throw new LockKeyError('at least one');
    return lease.lostError(result);
  }

  private lost(): OwnLease | undefined {
    return this.leases.find(({ loss }) => loss !== undefined);
  }
}

/** Aborts with the first of them; its own, because one of `AbortSignal.any` may be collected while code awaits it. */
function jointOf(leases: readonly OwnLease[]): AbortController {
  const controller = new AbortController();
  for (const { signal } of leases) {
    const abort = (): void => controller.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  }
  return controller;
}
