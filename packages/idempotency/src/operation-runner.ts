import { ConfigurationError, Incidents, StoreUnavailableError } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import type { Execution } from './execution.js';
import { unwrapVerdict } from './failure-verdict.js';
import { answerOfExceptions } from './http/http-failure.js';
import type { OnStoreDown } from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import type { IdempotencyMode } from './idempotent.decorator.js';
import type { ResultCodec } from './method/method-types.js';
import type { Begun, ExecutionPolicy, Operation } from './operation.js';
import { decodeOutcome, encodeException, encodeOutcome } from './stored-outcome.js';

const SOURCE = 'idempotency.call';

/** An `HttpException` says what it says over HTTP; of another error nothing can be told again. */
const EXCEPTIONS = answerOfExceptions(encodeException);

/** How a call is kept, beside what its operation is. */
export interface Running {
  readonly policy: ExecutionPolicy;
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
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** @throws ConfigurationError where the store cannot keep calls in this mode */
  assertPossible(mode: IdempotencyMode): void {
    if (mode === 'lease') return;
    throw ConfigurationError.option('@Idempotent mode', mode, "'lease' on a method");
  }

  /**
   * @param work must call `enter()` of the current execution before anything can happen
   * @throws as {@link IdempotencyService.begin}, and what `work` throws or threw
   */
  async run(operation: Operation, running: Running, work: () => Promise<unknown>): Promise<unknown> {
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
