import { AsyncResource } from 'node:async_hooks';
import { type Incidents, Listeners } from '@lockstep/core';

interface EventBase {
  /** Identity of the operation in the store; never the key. */
  readonly id: string;
  /** What is being done: `POST /orders`. */
  readonly operation: string;
}

/** What happens to operations in this process. */
export type IdempotencyEvent =
  | (EventBase & { readonly type: 'begun'; readonly fence: bigint; readonly recovered: boolean })
  /** A repetition got the first answer. */
  | (EventBase & { readonly type: 'replayed' })
  /** A repetition was refused: somebody is at it, another payload, nobody knows, never issued or too late. */
  | (EventBase & { readonly type: 'refused'; readonly reason: 'busy' | 'mismatch' | 'uncertain' | 'absent' | 'late' })
  /** A run has ended; the store may still have to hear of it. */
  | (EventBase & { readonly type: 'completed' | 'released' | 'uncertain'; readonly fence: bigint })
  /** A run that is still at work may not be the only one. */
  | (EventBase & { readonly type: 'lost'; readonly fence: bigint });

export type IdempotencyListener = (event: IdempotencyEvent) => void;

/** Tells listeners what happens; what they throw is an incident and touches no operation. */
export class IdempotencyEvents {
  private readonly listeners: Listeners<IdempotencyEvent>;

  constructor(incidents: Incidents) {
    this.listeners = new Listeners((cause) =>
      incidents.report({
        code: 'IDEMPOTENCY_LISTENER_FAILED',
        source: 'idempotency.events',
        message: 'a listener failed',
        cause,
      }),
    );
  }

  /** The listener runs in the asynchronous context of this call, not in that of the operation. */
  subscribe(listener: IdempotencyListener): () => void {
    return this.listeners.subscribe(AsyncResource.bind(listener));
  }

  emit(event: IdempotencyEvent): void {
    this.listeners.emit(event);
  }
}
