import { AsyncResource } from 'node:async_hooks';
import type { Incidents } from '@lockstep/core';

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
  private readonly listeners = new Set<IdempotencyListener>();

  constructor(private readonly incidents: Incidents) {}

  /** The listener runs in the asynchronous context of this call, not in that of the operation. */
  subscribe(listener: IdempotencyListener): () => void {
    const bound = AsyncResource.bind((event: IdempotencyEvent) => this.tell(listener, event));
    this.listeners.add(bound);
    return () => this.listeners.delete(bound);
  }

  emit(event: IdempotencyEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  private tell(listener: IdempotencyListener, event: IdempotencyEvent): void {
    const failed = (cause: unknown): void =>
      this.incidents.report({
        code: 'IDEMPOTENCY_LISTENER_FAILED',
        source: 'idempotency.events',
        message: 'a listener failed',
        cause,
      });
    try {
      // An async function is assignable to a listener, and its rejection would be nobody's.
      const result: unknown = listener(event);
      if (result instanceof Promise) result.catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }
}
