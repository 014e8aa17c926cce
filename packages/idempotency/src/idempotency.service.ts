import { createSecretKey, type KeyObject } from 'node:crypto';
import { checkpoint, count, DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { beginRequest } from './begin-request.js';
import { type ClaimOutcome, Claims, notBegun } from './claims.js';
import type { Execution, IdempotencyContext } from './execution.js';
import { byPolicy, endBy, failureVerdict, unwrapVerdict } from './failure-verdict.js';
import { Heartbeat } from './heartbeat.js';
import {
  IdempotencyKeyReusedError,
  OperationAbsentError,
  OperationInProgressError,
  OperationUncertainError,
} from './idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from './idempotency.options.js';
import { IdempotencyEvents, type IdempotencyListener } from './idempotency-events.js';
import {
  type BeginRequest,
  IDEMPOTENCY_STORE,
  type IdempotencyStore,
  type UncertainOperation,
} from './idempotency-store.js';
import type { AnswerOf, Begun, ExecutionEnd, ExecutionPolicy, Operation } from './operation.js';
import { encodeKnownOutcome, type OperatorVerdict } from './operator-verdict.js';
import { ANSWER, replayedAnswer } from './replayed-answer.js';
import { ResponseVault } from './response-vault.js';
import { Settler } from './settler.js';
import { decodeResult, encodeResult } from './stored-result.js';
import { TransactionalOperations, type Work } from './transactional/transactional-operations.js';

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
 * uncertain --a completer adopts it--> running (next owner, recovered)
 * ```
 * Another payload under the same key is refused in every state before anything else is looked at.
 */
@Injectable()
export class IdempotencyService implements OnApplicationBootstrap {
  /** @internal What {@link transact} is made of, for whoever stores errors too. */
  readonly transactions: TransactionalOperations;
  private readonly secret: KeyObject;
  private readonly vault: ResponseVault;
  private readonly heartbeat: Heartbeat;
  private readonly settler: Settler;
  private readonly claims: Claims;
  private readonly events: IdempotencyEvents;
  private readonly sweeper: PeriodicTask;

  constructor(
    @Inject(IDEMPOTENCY_STORE) private readonly store: IdempotencyStore,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.secret = createSecretKey(options.secret, 'utf8');
    this.vault = new ResponseVault(options.encryption);
    this.events = new IdempotencyEvents(incidents);
    const { vault, events } = this;
    this.heartbeat = new Heartbeat(store, incidents, options.leaseMs, ({ id, operation, fence }) =>
      events.emit({ type: 'lost', id, operation, fence }),
    );
    this.settler = new Settler(store, this.heartbeat, incidents);
    const { heartbeat, settler } = this;
    this.claims = new Claims({ store, options, heartbeat, settler, vault, incidents });
    this.transactions = new TransactionalOperations({ store, options, vault, events, incidents });
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
    // Who waits for another one's answer gives up first: the requests that run shall end, and these only wait for them.
    drain.register({ name: 'idempotency waits', phase: 'intake', drain: async () => this.claims.close() });
    drain.register({ name: 'idempotency', phase: 'leases', drain: (signal) => this.close(signal) });
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  /**
   * Claims an operation for the caller, who must end what it was given by {@link end}, or hands out the first answer.
   *
   * @param signal ends the wait for whoever is at it
   * @throws OperationInvalidError before the store is asked: no key, or a payload that cannot be compared
   * @throws IdempotencyKeyReusedError the key belongs to another payload
   * @throws OperationInProgressError somebody is at it, and has not ended within the wait of the policy
   * @throws OperationUncertainError nobody knows whether it took effect
   * @throws OperationResultUnavailableError the answer is encrypted with a key that is not there
   * @throws StoreUnavailableError `not-applied`: a claim that the store may still make is taken back
   */
  async begin(operation: Operation, policy: ExecutionPolicy = {}, signal?: AbortSignal): Promise<Begun> {
    const request = beginRequest(operation, policy, this.options, this.secret);
    const { waitMs = this.options.waitMs, onError = this.options.onError } = policy;
    const claimed = await this.claims.claim({ request, waitMs, signal, onError });
    const { outcome } = claimed;
    count('lockstep.idempotency.begin', { outcome: outcome === 'execution' ? 'acquired' : outcome });
    if (claimed.outcome === 'execution') return this.begun(claimed.execution);
    if (claimed.outcome === 'completed') return { kind: 'replay', response: this.replayed(request, claimed.response) };
    this.events.emit({ type: 'refused', id: request.id, operation: request.operation, reason: claimed.outcome });
    throw refusalOf(claimed, request);
  }

  /**
   * Ends an execution. Never rejects: a store that does not answer is asked again in the background while the lease is
   * renewed, because the effect is there and the caller must hear of it.
   */
  async end(execution: Execution, end: ExecutionEnd): Promise<void> {
    const { id, operation, fence, retentionMs } = execution;
    checkpoint('idempotency.executed');
    if (end.to === 'uncertain') await this.settler.settle(execution, end);
    else if (end.to === 'released') await this.settler.settle(execution, { ...end, retentionMs });
    else {
      const response = this.vault.seal(id, ANSWER, end.response);
      await this.settler.settle(execution, { to: 'completed', response, retentionMs });
    }
    checkpoint('idempotency.settled');
    count('lockstep.idempotency.end', { end: end.to });
    this.events.emit({ type: end.to, id, operation, fence });
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
    signal?: AbortSignal,
  ): Promise<T> {
    const begun = await this.begin(operation, policy, signal);
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
   * Runs `fn` once per key in one transaction with claim and result, outside of HTTP: everything that `fn` awaits finds
   * the transaction, and repetitions get the first result, which must be JSON. Only for a store that keeps the mode
   * `'transactional'`.
   *
   * Where `fn` throws, everything is rolled back and the key is free; `OutcomeUnknown` keeps the key, uncertain. The
   * database may make it run again (see `TransactionalStore.transact`): `recovered` says so, and what it did outside of
   * the database it does twice. The `signal` of the context never aborts, because there is no lease to lose.
   *
   * @param signal ends the wait for whoever is at it, at the latest after two seconds
   * @throws ConfigurationError when the store cannot
   * @throws what {@link begin} and `TransactionalStore.transact` throw, and what `fn` throws
   */
  async transact<T>(
    operation: Operation,
    fn: (context: IdempotencyContext) => Promise<T>,
    policy: ExecutionPolicy = {},
    signal?: AbortSignal,
  ): Promise<T> {
    const work = async (execution: Execution): Promise<Work<T>> => {
      execution.enter();
      const value = await execution.run(() => fn(execution));
      return { value, response: this.encodeResult(execution, value) };
    };
    try {
      const done = await this.transactions.run(operation, policy, work, { signal });
      return done.kind === 'replay' ? decodeResult<T>(done.response) : done.value;
    } catch (error) {
      throw unwrapVerdict(error);
    }
  }

  /**
   * Ends an execution by what its error says of the effect. Never rejects.
   *
   * @param answerOf the ends that the caller can tell by the error
   */
  fail(execution: Execution, error: unknown, answerOf?: AnswerOf): Promise<void> {
    if (!execution.wasEntered) return this.end(execution, endBy('not-applied'));
    const { onLeaseExpiry, operation, onError } = execution;
    let end: ExecutionEnd;
    try {
      end = failureVerdict(error, { policy: onLeaseExpiry, onError, answerOf });
    } catch (cause) {
      const message = `an error of ${operation} could not be judged, by onError or at all; onLeaseExpiry decides`;
      this.incidents.report({ code: 'ON_ERROR_FAILED', source: 'idempotency.run', message, cause });
      end = endBy(byPolicy(onLeaseExpiry));
    }
    return this.end(execution, end);
  }

  /** Hears what happens to operations in this process. Returns what ends that. */
  subscribe(listener: IdempotencyListener): () => void {
    return this.events.subscribe(listener);
  }

  /** Operations that wait for an operator, oldest first. */
  listUncertain(limit = 100): Promise<readonly UncertainOperation[]> {
    return this.store.listUncertain(limit);
  }

  /**
   * An operator's word on an uncertain operation: it took effect and this is its answer, or nothing happened and it may
   * be tried again. False when it is not uncertain any more.
   *
   * @throws TypeError when no JSON can be made of the answer
   */
  async resolve(id: string, verdict: OperatorVerdict): Promise<boolean> {
    const { retentionMs } = this.options;
    if (verdict.to === 'released') return this.store.resolve(id, { to: 'released', retentionMs });
    const response = this.vault.seal(id, ANSWER, encodeKnownOutcome(verdict));
    return this.store.resolve(id, { to: 'completed', response, retentionMs });
  }

  /**
   * Takes an uncertain operation over, to finish it; it must be ended by {@link end} or {@link fail}. Its former owner has
   * no say any more. Undefined when it is not uncertain any more, or the store cannot hand operations over.
   */
  async adopt(operation: UncertainOperation): Promise<Execution | undefined> {
    const execution = await this.claims.adopt(operation);
    return execution && this.begun(execution).execution;
  }

  private begun(execution: Execution): Extract<Begun, { readonly kind: 'execution' }> {
    const { id, operation, fence, recovered } = execution;
    this.events.emit({ type: 'begun', id, operation, fence, recovered });
    return { kind: 'execution', execution };
  }

  private replayed(request: BeginRequest, stored: string): string {
    const { vault, events, incidents } = this;
    return replayedAnswer({ vault, events, incidents }, request, stored);
  }

  private encodeResult({ operation }: Execution, value: unknown): string {
    return encodeResult(value, (cause) => {
      const message = `the result of ${operation} is no JSON; repetitions are refused`;
      this.incidents.report({ code: 'RESULT_NOT_STORABLE', source: 'idempotency.run', message, cause });
    });
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

function refusalOf(claimed: Exclude<ClaimOutcome, { outcome: 'execution' | 'completed' }>, of: BeginRequest): Error {
  switch (claimed.outcome) {
    case 'mismatch':
      return new IdempotencyKeyReusedError();
    case 'busy':
      return new OperationInProgressError(Math.min(claimed.retryAfterMs, LONGEST_RETRY_AFTER_MS));
    case 'uncertain':
      return new OperationUncertainError(of.operation, of.id);
    case 'absent':
      return new OperationAbsentError();
    case 'late':
      return notBegun(new Error('the claim reached the store too late'));
  }
}
