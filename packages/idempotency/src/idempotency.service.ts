import { createSecretKey, type KeyObject } from 'node:crypto';
import {
  checkpoint,
  count,
  DrainService,
  Incidents,
  isLockstepError,
  monotonicMs,
  PeriodicTask,
  StoreUnavailableError,
  withSpan,
} from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { beginRequest } from './begin-request.js';
import { Execution, type IdempotencyContext } from './execution.js';
import { byPolicy, endBy, failureVerdict, unwrapVerdict } from './failure-verdict.js';
import { Heartbeat } from './heartbeat.js';
import { IdempotencyKeyReusedError, OperationInProgressError, OperationUncertainError } from './idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from './idempotency.options.js';
import {
  type BeginOutcome,
  type BeginRequest,
  IDEMPOTENCY_STORE,
  type IdempotencyStore,
  type UncertainOperation,
} from './idempotency-store.js';
import type { Begun, ExecutionEnd, ExecutionPolicy, Operation, OperatorVerdict } from './operation.js';
import { mayHaveBegun, Settler } from './settler.js';
import { decodeResult, encodeResult } from './stored-result.js';

/** The lease of an owner that crashed may be long, the work of one that lives is usually short. */
const LONGEST_RETRY_AFTER_MS = 1_000;
const SWEEP_LIMIT = 1_000;

/**
 * Lets an operation take effect once per key, and gives every repetition the first answer.
 *
 * ```
 * none --begin--> running (owner, fence, lease renewed at a third)
 * running --end completed--> completed --retention over--> none
 * running --end released--> released --begin--> running (higher fence)
 * running --end uncertain--> uncertain
 * running, owner vanished, 'retry'     --begin--> running (next owner, recovered)
 * running, owner vanished, 'uncertain' --begin | sweep--> uncertain
 * uncertain --its own owner after all | resolve()--> completed | released
 * ```
 * Another payload under the same key is refused in every state before anything else is looked at.
 */
@Injectable()
export class IdempotencyService implements OnApplicationBootstrap {
  private readonly secret: KeyObject;
  private readonly heartbeat: Heartbeat;
  private readonly settler: Settler;
  private readonly sweeper: PeriodicTask;

  constructor(
    @Inject(IDEMPOTENCY_STORE) private readonly store: IdempotencyStore,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.secret = createSecretKey(options.secret, 'utf8');
    this.heartbeat = new Heartbeat(store, incidents, options.leaseMs);
    this.settler = new Settler(store, this.heartbeat, incidents);
    this.sweeper = new PeriodicTask({
      name: 'idempotency.sweep',
      everyMs: options.sweepEveryMs,
      run: () => this.sweep(),
      onError: (cause) =>
        incidents.report({
          code: 'SWEEP_FAILED',
          source: 'idempotency.sweep',
          message: 'abandoned claims not looked at',
          cause,
        }),
    });
    drain.register({ name: 'idempotency', phase: 'leases', drain: (signal) => this.close(signal) });
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  /**
   * Claims an operation for the caller, who must end what it was given by {@link end}, or hands out the first answer.
   *
   * @throws OperationInvalidError before the store is asked: no key, or a payload that cannot be compared
   * @throws IdempotencyKeyReusedError the key belongs to another payload
   * @throws OperationInProgressError somebody is at it
   * @throws OperationUncertainError nobody knows whether it took effect
   * @throws StoreUnavailableError `not-applied`: a claim that the store may still make is taken back
   */
  async begin(operation: Operation, policy: ExecutionPolicy = {}): Promise<Begun> {
    const request = beginRequest(operation, policy, this.options, this.secret);
    const sentAt = monotonicMs();
    const outcome = await this.beginAtStore(request);
    count('lockstep.idempotency.begin', { outcome: outcome.outcome });
    switch (outcome.outcome) {
      case 'acquired':
        return { kind: 'execution', execution: this.start(request, outcome, sentAt) };
      case 'completed':
        return { kind: 'replay', response: outcome.response };
      case 'mismatch':
        throw new IdempotencyKeyReusedError();
      case 'busy':
        throw new OperationInProgressError(Math.min(outcome.retryAfterMs, LONGEST_RETRY_AFTER_MS));
      case 'uncertain':
        throw new OperationUncertainError(request.operation, request.id);
      case 'absent':
      case 'late':
        throw notBegun(new Error('the claim reached the store too late'));
    }
  }

  /**
   * Ends an execution. Never rejects: a store that does not answer is asked again in the background while the lease is
   * renewed, because the effect is there and the caller must hear of it.
   */
  async end(execution: Execution, end: ExecutionEnd): Promise<void> {
    const { retentionMs } = execution;
    checkpoint('idempotency.executed');
    await this.settler.settle(execution, end.to === 'uncertain' ? end : { ...end, retentionMs });
    checkpoint('idempotency.settled');
    count('lockstep.idempotency.end', { end: end.to });
  }

  /**
   * Runs `fn` once per key, outside of HTTP: repetitions get the first result, which must be JSON. Errors are never
   * stored.
   *
   * @throws what {@link begin} throws, and what `fn` throws
   */
  async run<T>(
    operation: Operation,
    fn: (context: IdempotencyContext) => Promise<T>,
    policy: ExecutionPolicy = {},
  ): Promise<T> {
    const begun = await this.begin(operation, policy);
    if (begun.kind === 'replay') return decodeResult<T>(begun.response);
    const { execution } = begun;
    let result: T;
    try {
      execution.enter();
      result = await execution.run(() => fn(execution));
    } catch (error) {
      await this.fail(execution, error);
      throw unwrapVerdict(error);
    }
    await this.end(execution, { to: 'completed', response: this.encodeResult(execution, result) });
    return result;
  }

  /**
   * Ends an execution by what its error says of the effect. Never rejects.
   *
   * @param known ends that the caller can tell by the error, looked at first
   */
  fail(execution: Execution, error: unknown, known?: (error: unknown) => ExecutionEnd | undefined): Promise<void> {
    if (!execution.wasEntered) return this.end(execution, endBy('not-applied'));
    const { onLeaseExpiry, operation } = execution;
    let end: ExecutionEnd;
    try {
      end = known?.(error) ?? endBy(failureVerdict(error, onLeaseExpiry, this.options.onError));
    } catch (cause) {
      const message = `an error of ${operation} could not be judged, by onError or at all; onLeaseExpiry decides`;
      this.incidents.report({ code: 'ON_ERROR_FAILED', source: 'idempotency.run', message, cause });
      end = endBy(byPolicy(onLeaseExpiry));
    }
    return this.end(execution, end);
  }

  /** Operations that wait for an operator, oldest first. */
  listUncertain(limit = 100): Promise<readonly UncertainOperation[]> {
    return this.store.listUncertain(limit);
  }

  /**
   * An operator's word on an uncertain operation: it took effect and this is its answer, or nothing happened and it may
   * be tried again. False when it is not uncertain any more.
   */
  resolve(id: string, verdict: OperatorVerdict): Promise<boolean> {
    return this.store.resolve(id, { ...verdict, retentionMs: this.options.retentionMs });
  }

  private encodeResult({ operation }: Execution, value: unknown): string {
    return encodeResult(value, (cause) => {
      const message = `the result of ${operation} is no JSON; repetitions are refused`;
      this.incidents.report({ code: 'RESULT_NOT_STORABLE', source: 'idempotency.run', message, cause });
    });
  }

  private async beginAtStore(request: BeginRequest): Promise<BeginOutcome> {
    try {
      return await withSpan('lockstep.idempotency.begin', { 'lockstep.idempotency.operation': request.operation }, () =>
        this.store.begin(request),
      );
    } catch (error) {
      count('lockstep.idempotency.begin', { outcome: 'unavailable' });
      if (!mayHaveBegun(error)) throw error;
      this.settler.takeBack(request, request.operation, request.applyWithinMs, request.retentionMs);
      throw notBegun(error);
    }
  }

  private start(
    request: BeginRequest,
    { fence, recovered }: { readonly fence: bigint; readonly recovered: boolean },
    sentAt: number,
  ): Execution {
    const { id, owner, operation, onLeaseExpiry, retentionMs, leaseMs } = request;
    const execution = new Execution({
      id,
      owner,
      operation,
      fence,
      recovered,
      onLeaseExpiry,
      retentionMs,
      leaseEndsAt: sentAt + leaseMs,
      renewUntil: sentAt + this.options.maxExecutionMs,
    });
    this.heartbeat.add(execution);
    checkpoint('idempotency.claimed');
    return execution;
  }

  private async sweep(): Promise<'again' | undefined> {
    const marked = await this.store.sweep(SWEEP_LIMIT);
    if (marked > 0) count('lockstep.idempotency.uncertain', {}, marked);
    return marked === SWEEP_LIMIT ? 'again' : undefined;
  }

  /** After the HTTP server has closed: nothing runs any more, but answers may still be on their way to the store. */
  private async close(signal: AbortSignal): Promise<void> {
    await this.sweeper.stop();
    await this.settler.drain(signal);
    this.heartbeat.stop();
  }
}

/** Whatever the store made of it, nobody works under this claim, and a guarantee outside must not think so. */
function notBegun(cause: unknown): StoreUnavailableError {
  const store = (isLockstepError(cause) && cause.fields.store) || 'idempotency';
  return new StoreUnavailableError({
    store: String(store),
    operation: 'idempotency.begin',
    outcome: 'not-applied',
    cause,
  });
}
