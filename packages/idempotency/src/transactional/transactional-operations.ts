import { createSecretKey, type KeyObject } from 'node:crypto';
import { ConfigurationError, checkpoint, count, withSpan } from '@lockstep/core';
import { beginRequest } from '../begin-request.js';
import type { Execution } from '../execution.js';
import { endBy, failureVerdict } from '../failure-verdict.js';
import {
  IdempotencyKeyReusedError,
  OperationAbsentError,
  OperationInProgressError,
  OperationUncertainError,
} from '../idempotency.errors.js';
import type { ResolvedIdempotencyOptions } from '../idempotency.options.js';
import type { BeginRequest, IdempotencyStore } from '../idempotency-store.js';
import type { AnswerOf, ExecutionEnd, ExecutionPolicy, Operation } from '../operation.js';
import { ANSWER, type ReplayTools, replayedAnswer } from '../replayed-answer.js';
import {
  isTransactional,
  type TransactionalOutcome,
  type TransactionalRun,
  type TransactionalStore,
  type TransactionalWork,
} from '../store-abilities.js';
import { executionInTransaction } from './execution-in-transaction.js';
import { ExecutionReport } from './execution-report.js';

export interface TransactionalTools extends ReplayTools {
  readonly store: IdempotencyStore;
  readonly options: ResolvedIdempotencyOptions;
}

/** What came of an operation: it was executed now, and has committed; or it had been, and this is its answer. */
export type Transacted<T> =
  | { readonly kind: 'executed'; readonly value: T }
  | { readonly kind: 'replay'; readonly response: string };

/** What a run gave, to be handed on once it has committed: also an error, where the transaction keeps a trace of it. */
type Given<T> = { readonly value: T } | { readonly error: unknown };

/** What one run gave, and the answer that repetitions get. */
export interface Work<T> {
  readonly value: T;
  readonly response: string;
}

/** Whoever waits for the outcome. */
export interface TransactionalCaller {
  /** What the caller is told of an error. */
  readonly answerOf?: AnswerOf;
  /** Ends the wait for whoever is at it; work that has begun goes on. */
  readonly signal?: AbortSignal | undefined;
}

const RETRY_AFTER_MS = 1_000;

/**
 * Operations whose claim, effects and answer are one transaction.
 *
 * ```
 * none --transact--> running (open transaction) --commit--> completed | uncertain (by the handler's own word)
 *                    running --rollback | crash--> none
 * ```
 * No lease: the database knows whether the owner lives. Nothing is pending after the answer has left.
 */
export class TransactionalOperations {
  private readonly secret: KeyObject;

  constructor(private readonly tools: TransactionalTools) {
    this.secret = createSecretKey(tools.options.secret, 'utf8');
  }

  /**
   * Runs `work` in a transaction, or hands out the first answer. What an error does in the database is undone in any
   * case, so that only the handler itself, `onError` or a guarantee inside can know of an effect elsewhere; where none of
   * them says so, there was none.
   *
   * @throws what `work` throws; see `TransactionalStore.transact` and `IdempotencyService.begin`
   */
  async run<T>(
    operation: Operation,
    policy: ExecutionPolicy,
    work: (execution: Execution) => Promise<Work<T>>,
    { answerOf, signal }: TransactionalCaller = {},
  ): Promise<Transacted<T>> {
    const { options, vault } = this.tools;
    const request = beginRequest(operation, policy, options, this.secret);
    const seal = (response: string): string => vault.seal(request.id, ANSWER, response);
    const outcome = await this.transact<Given<T>>(request, { ...policy, signal }, async (execution) => {
      try {
        const { value, response } = await work(execution);
        return { effects: 'keep', response: seal(response), value: { value } };
      } catch (error) {
        const end = this.endOf(execution, error, answerOf);
        if (end.to === 'released') throw error;
        const response = end.to === 'completed' ? seal(end.response) : undefined;
        return { effects: 'undo', response, value: { error } };
      }
    });
    if (outcome.outcome !== 'executed') return { kind: 'replay', response: this.answered(outcome, request) };
    if ('error' in outcome.value) throw outcome.value.error;
    return { kind: 'executed', value: outcome.value.value };
  }

  /** Never throws. */
  private endOf(execution: Execution, error: unknown, answerOf: AnswerOf | undefined): ExecutionEnd {
    if (!execution.wasEntered) return endBy('not-applied');
    // An interceptor gave up on it. Whatever it still does finds that its transaction has ended.
    if (execution.work) return endBy('released');
    try {
      // Where nothing speaks against it, what was rolled back may be tried again.
      return failureVerdict(error, { policy: 'retry', onError: execution.onError, answerOf });
    } catch (cause) {
      const message = `an error of ${execution.operation} could not be judged, by onError or at all; it is rolled back`;
      this.tools.incidents.report({ code: 'ON_ERROR_FAILED', source: 'idempotency.transact', message, cause });
      return endBy('released');
    }
  }

  private async transact<T>(
    request: BeginRequest,
    policy: ExecutionPolicy & Pick<TransactionalCaller, 'signal'>,
    work: (execution: Execution) => Promise<TransactionalWork<T>>,
  ): Promise<TransactionalOutcome<T>> {
    const { options, events } = this.tools;
    const { waitMs = options.waitMs, onError = options.onError, isolation, signal } = policy;
    const report = new ExecutionReport(events);
    const once = async (run: TransactionalRun): Promise<TransactionalWork<T>> => {
      const execution = executionInTransaction(request, run, onError);
      report.began(execution);
      checkpoint('idempotency.claimed');
      const done = await work(execution).finally(() => execution.startSettling());
      report.worked(done);
      return done;
    };
    const attributes = { 'lockstep.idempotency.operation': request.operation };
    try {
      const outcome = await withSpan('lockstep.idempotency.transact', attributes, async () =>
        this.store.transact({ ...request, waitMs, isolation, signal }, once),
      );
      report.decided(outcome);
      return outcome;
    } catch (error) {
      report.failed(error);
      throw error;
    }
  }

  /** The first answer; or throws what the caller gets instead. */
  private answered(
    outcome: Exclude<TransactionalOutcome<unknown>, { readonly outcome: 'executed' }>,
    request: BeginRequest,
  ): string {
    const { id, operation } = request;
    count('lockstep.idempotency.begin', { outcome: outcome.outcome });
    if (outcome.outcome === 'completed') return replayedAnswer(this.tools, request, outcome.response);
    this.tools.events.emit({ type: 'refused', id, operation, reason: outcome.outcome });
    switch (outcome.outcome) {
      case 'mismatch':
        throw new IdempotencyKeyReusedError();
      case 'busy':
        throw new OperationInProgressError(RETRY_AFTER_MS);
      case 'absent':
        throw new OperationAbsentError();
      case 'uncertain':
        throw new OperationUncertainError(operation, id);
    }
  }

  private get store(): TransactionalStore {
    const { store } = this.tools;
    if (isTransactional(store)) return store;
    throw new ConfigurationError(
      "The mode 'transactional' needs a store that keeps it in the application's own database; the store of " +
        'IdempotencyModule is none.',
    );
  }
}
