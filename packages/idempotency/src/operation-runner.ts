import { ConfigurationError, Incidents, StoreUnavailableError } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import type { Execution } from './execution.js';
import { unwrapVerdict } from './failure-verdict.js';
import { answerOfExceptions } from './http/http-failure.js';
import type { OnStoreDown } from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import { IDEMPOTENCY_STORE, type IdempotencyStore } from './idempotency-store.js';
import type { IdempotencyMode } from './idempotent.decorator.js';
import type { ResultCodec } from './method/method-types.js';
import type { Begun, ExecutionPolicy, Operation } from './operation.js';
import { decodeOutcome, encodeException, encodeOutcome } from './stored-outcome.js';
import type { Work } from './transactional/transactional-operations.js';
import { whyNoTransactions } from './transactional/transactional-route.js';

const SOURCE = 'idempotency.call';

/** An `HttpException` says what it says over HTTP; of another error nothing can be told again. */
const EXCEPTIONS = answerOfExceptions(encodeException);

/** How a call is kept, beside what its operation is. */
export interface Running {
  readonly policy: ExecutionPolicy;
  readonly mode: IdempotencyMode;
  readonly onStoreDown: OnStoreDown;
  readonly codec?: ResultCodec<unknown> | undefined;
}

/**
 * Runs calls that are no HTTP requests once per key: of methods and of resolvers. Repetitions get the first result, or
 * the first `HttpException` that was a final answer.
 */
@Injectable()
export class OperationRunner {
  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Inject(IDEMPOTENCY_STORE) private readonly store: IdempotencyStore,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** @throws ConfigurationError naming the method, where its calls cannot be kept in its mode */
  assertPossible(name: string, running: Running): void {
    const reason = whyNoTransactions(running, this.store);
    if (reason) throw new ConfigurationError(`${name} is decorated with @Idempotent, but it ${reason}.`);
  }

  /**
   * @param work must call `enter()` of the current execution before anything can happen
   * @throws as {@link IdempotencyService.begin}, and what `work` throws or threw; in one transaction also as
   * `TransactionalStore.transact`
   */
  run(operation: Operation, running: Running, work: () => Promise<unknown>): Promise<unknown> {
    return running.mode === 'transactional'
      ? this.inTransaction(operation, running, work)
      : this.inLease(operation, running, work);
  }

  private async inTransaction(
    operation: Operation,
    { policy, codec }: Running,
    work: () => Promise<unknown>,
  ): Promise<unknown> {
    const { transactions } = this.service;
    try {
      const done = await transactions.run(operation, policy, (execution) => this.once(execution, codec, work), {
        answerOf: EXCEPTIONS,
      });
      return done.kind === 'replay' ? decodeOutcome(done.response, codec) : done.value;
    } catch (error) {
      throw unwrapVerdict(error);
    }
  }

  private async once(
    execution: Execution,
    codec: Running['codec'],
    work: () => Promise<unknown>,
  ): Promise<Work<unknown>> {
    const value = await execution.run(work);
    return { value, response: encodeOutcome(value, codec, (cause) => this.notStorable(execution, cause)) };
  }

  private async inLease(operation: Operation, running: Running, work: () => Promise<unknown>): Promise<unknown> {
    const begun = await this.begin(operation, running);
    if (begun === 'bypassed') return work();
    if (begun.kind === 'replay') return decodeOutcome(begun.response, running.codec);
    const { execution } = begun;
    let result: unknown;
    try {
      result = await execution.run(work);
    } catch (error) {
      await this.service.fail(execution, error, EXCEPTIONS);
      throw unwrapVerdict(error);
    }
    const response = encodeOutcome(result, running.codec, (cause) => this.notStorable(execution, cause));
    await this.service.end(execution, { to: 'completed', response });
    return result;
  }

  private async begin(operation: Operation, { policy, onStoreDown }: Running): Promise<Begun | 'bypassed'> {
    try {
      return await this.service.begin(operation, policy);
    } catch (cause) {
      if (onStoreDown === 'reject' || !(cause instanceof StoreUnavailableError)) throw cause;
      const message = `${operation.operation} runs without any guarantee, because the store is down`;
      this.incidents.report({ code: 'IDEMPOTENCY_BYPASSED', source: SOURCE, message, cause });
      return 'bypassed';
    }
  }

  private notStorable({ operation }: Execution, cause: unknown): void {
    const message = `the result of ${operation} cannot be told again; repetitions are refused`;
    this.incidents.report({ code: 'RESULT_NOT_STORABLE', source: SOURCE, message, cause });
  }
}
