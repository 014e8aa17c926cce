import { type Incidents, Listeners } from '@lockstep/core';
import { outsideLeases } from './lease/outside-leases.js';
import type { LeaseLoss } from './lock.errors.js';

interface LockEventBase {
  readonly key: string;
  /** Name of the store's kind: `redis`. */
  readonly store: string;
}

/** What happens to locks in this process. */
export type LockEvent =
  | (LockEventBase & { readonly type: 'acquired'; readonly fence: bigint | undefined; readonly waitedMs: number })
  /** The wait was over and somebody else still had the lock. */
  | (LockEventBase & { readonly type: 'busy'; readonly waitedMs: number })
  | (LockEventBase & { readonly type: 'extended'; readonly fence: bigint | undefined })
  | (LockEventBase & { readonly type: 'lost'; readonly fence: bigint | undefined; readonly loss: LeaseLoss })
  /** Given back, or with `minHold` left to end when that is over. */
  | (LockEventBase & { readonly type: 'released'; readonly fence: bigint | undefined })
  /** Others wait until the lease ends. */
  | (LockEventBase & { readonly type: 'release-failed'; readonly fence: bigint | undefined; readonly cause: unknown });

export type LockListener = (event: LockEvent) => void;

/** Tells listeners what happens; what they throw is an incident and touches no lock. */
export class LockEvents {
  private readonly listeners: Listeners<LockEvent>;

  constructor(incidents: Incidents) {
    this.listeners = new Listeners((cause) =>
      incidents.report({
        code: 'LOCK_LISTENER_FAILED',
        source: 'lock.events',
        message: 'a listener failed',
        cause,
      }),
    );
  }

  /** Whether it is worth making an event. */
  get hasListeners(): boolean {
    return !this.listeners.isEmpty;
  }

  subscribe(listener: LockListener): () => void {
    return this.listeners.subscribe(listener);
  }

  emit(event: LockEvent): void {
    outsideLeases(() => this.listeners.emit(event));
  }
}
