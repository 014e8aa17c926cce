import { randomUUID } from 'node:crypto';
import {
  checkpoint,
  count,
  type Incidents,
  isLockstepError,
  monotonicMs,
  StoreUnavailableError,
  withSpan,
} from '@lockstep/core';
import { Execution } from './execution.js';
import type { Heartbeat } from './heartbeat.js';
import type { ErrorVerdict, ResolvedIdempotencyOptions } from './idempotency.options.js';
import type { BeginOutcome, BeginRequest, IdempotencyStore, UncertainOperation } from './idempotency-store.js';
import type { ResponseVault } from './response-vault.js';
import { mayHaveBegun, type Settler } from './settler.js';
import { StepJournal } from './step-journal.js';
import { isAdopting, type Steps } from './store-abilities.js';
import { type Asked, Waiting } from './waiting.js';

export interface ClaimTools {
  readonly store: IdempotencyStore;
  readonly options: ResolvedIdempotencyOptions;
  readonly heartbeat: Heartbeat;
  readonly settler: Settler;
  readonly vault: ResponseVault;
  readonly incidents: Incidents;
}

export interface ClaimWish {
  readonly request: BeginRequest;
  /** How long to wait for whoever is at it; 0: not at all. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
  readonly onError: ErrorVerdict;
}

export type ClaimOutcome =
  | { readonly outcome: 'execution'; readonly execution: Execution }
  | Exclude<BeginOutcome, { readonly outcome: 'acquired' }>;

interface Grant {
  readonly fence: bigint;
  readonly recovered: boolean;
  readonly steps?: Steps | undefined;
}

/**
 * Gets claims from the store.
 *
 * ```
 * asked --acquired--> held (its lease is renewed)
 *       --busy, may wait--> waiting --> asked again
 *       --no answer--> taken back in the background, for a handler that never runs
 * uncertain --adopted--> held, by a new owner
 * ```
 */
export class Claims {
  private readonly waiting: Waiting;

  constructor(private readonly tools: ClaimTools) {
    this.waiting = new Waiting(tools.store, (request) => this.ask(request), tools.incidents);
  }

  /** @throws StoreUnavailableError `not-applied`: a claim that the store may still make is taken back */
  async claim(wish: ClaimWish): Promise<ClaimOutcome> {
    const { request, waitMs, signal } = wish;
    let asked = await this.ask(request);
    if (asked.answer.outcome === 'busy' && waitMs > 0) {
      asked = await this.waiting.for(request, { ...asked, answer: asked.answer }, waitMs, signal);
    }
    const { answer, sentAt } = asked;
    if (answer.outcome !== 'acquired') return answer;
    return { outcome: 'execution', execution: this.hold(request, wish.onError, answer, sentAt) };
  }

  /** Undefined where it is not uncertain any more. */
  async adopt({ id, operation }: UncertainOperation): Promise<Execution | undefined> {
    const { store, options } = this.tools;
    if (!isAdopting(store)) return undefined;
    const { leaseMs, retentionMs, onError } = options;
    const request = { id, operation, owner: randomUUID(), leaseMs, retentionMs, onLeaseExpiry: 'uncertain' as const };
    const sentAt = monotonicMs();
    const adopted = await store.adopt(request);
    if (adopted.outcome === 'gone') return undefined;
    const { retentionMs: keptFor } = adopted;
    return this.hold({ ...request, retentionMs: keptFor }, onError, { ...adopted, recovered: true }, sentAt);
  }

  /** Ends all waits. */
  close(): void {
    this.waiting.close();
  }

  private async ask(request: BeginRequest): Promise<Asked> {
    const { store, settler, options } = this.tools;
    const sentAt = monotonicMs();
    try {
      const answer = await withSpan(
        'lockstep.idempotency.begin',
        { 'lockstep.idempotency.operation': request.operation },
        () => store.begin(request),
      );
      return { answer, sentAt };
    } catch (error) {
      count('lockstep.idempotency.begin', { outcome: 'unavailable' });
      if (!mayHaveBegun(error)) throw error;
      settler.takeBack(request, options.maxExecutionMs);
      throw notBegun(error);
    }
  }

  private hold(
    request: Pick<BeginRequest, 'id' | 'owner' | 'operation' | 'onLeaseExpiry' | 'retentionMs' | 'leaseMs'>,
    onError: ErrorVerdict,
    { fence, recovered, steps }: Grant,
    sentAt: number,
  ): Execution {
    const { heartbeat, options } = this.tools;
    const execution = new Execution({
      ...request,
      fence,
      recovered,
      onError,
      leaseEndsAt: sentAt + request.leaseMs,
      renewUntil: sentAt + options.maxExecutionMs,
      openJournal: (owner) => new StepJournal(this.tools, owner, steps ?? {}),
    });
    heartbeat.add(execution);
    checkpoint('idempotency.claimed');
    return execution;
  }
}

/** Whatever the store made of it, nobody works under this claim, and a guarantee outside must not think so. */
export function notBegun(cause: unknown): StoreUnavailableError {
  const store = (isLockstepError(cause) && cause.fields.store) || 'idempotency';
  return new StoreUnavailableError({
    store: String(store),
    operation: 'idempotency.begin',
    outcome: 'not-applied',
    cause,
  });
}
