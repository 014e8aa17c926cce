import { STATUS_CODES } from 'node:http';
import { Readable } from 'node:stream';
import { Incidents } from '@lockstep/core';
import { type CallHandler, HttpException, Inject, Injectable, StreamableFile } from '@nestjs/common';
import { type AbstractHttpAdapter, HttpAdapterHost } from '@nestjs/core';
import { lastValueFrom } from 'rxjs';
import { unwrapVerdict } from '../failure-verdict.js';
import { AnswerOutsideTransactionError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { ExecutionPolicy, Operation } from '../operation.js';
import { assertHandlerEnded } from '../transactional/transactional-call.js';
import type { AnyResponse } from './answer-keeper.js';
import { listedHeaders, rawResponse, whileThere } from './http-exchange.js';
import { answerOfExceptions } from './http-failure.js';
import { replayAnswer } from './replay.js';
import { ResponseStart } from './response-start.js';
import { encodeAnswer, type GivenAnswer, isStreaming } from './stored-answer.js';

/** The operation of a request, and where its answer comes from and goes to. */
export interface TransactionalCall {
  readonly operation: Operation;
  readonly policy: ExecutionPolicy;
  readonly next: CallHandler;
  readonly response: AnyResponse;
}

/**
 * A request whose handler runs in one transaction with its claim and its answer. Pipes, other interceptors and the
 * handler run inside; the answer is handed on only once the commit is known.
 */
@Injectable()
export class TransactionalExchange {
  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** What Nest is to send. A client that leaves ends its wait for others, not the work. */
  answer(call: TransactionalCall): Promise<unknown> {
    const { waitMs = this.options.waitMs } = call.policy;
    return waitMs > 0 ? whileThere(rawResponse(call.response), (signal) => this.run(call, signal)) : this.run(call);
  }

  private async run(call: TransactionalCall, signal?: AbortSignal): Promise<unknown> {
    const { operation, policy, response } = call;
    const encode = (answer: GivenAnswer): string => this.encode(call, answer);
    const start = new ResponseStart(this.adapter, response);
    let refusal: StatusRefusal | undefined;
    const answerOf = answerOfExceptions((exception) =>
      encode(exception instanceof StatusRefusal ? exception.given : thrown(exception)),
    );
    try {
      const transacted = await this.service.transactions.run(
        operation,
        policy,
        async (execution) => {
          start.restore();
          const value = await execution.run(() => this.handle(call));
          const given = { status: response.statusCode, value, isError: false };
          if (given.status < 400) return { value, response: encode(given) };
          // A status that says "no" is judged as if it had been thrown.
          refusal = new StatusRefusal(given);
          throw refusal;
        },
        { answerOf, signal },
      );
      if (transacted.kind === 'executed') return transacted.value;
      return replayAnswer(this.adapter, response, transacted.response, false);
    } catch (error) {
      if (refusal && error === refusal) return refusal.given.value;
      throw unwrapVerdict(error);
    }
  }

  /** @throws AnswerOutsideTransactionError, which rolls back */
  private async handle({ next, operation: { operation }, response }: TransactionalCall): Promise<unknown> {
    const value: unknown = await lastValueFrom(next.handle(), { defaultValue: undefined });
    assertHandlerEnded(operation);
    if (rawResponse(response).headersSent) {
      throw new AnswerOutsideTransactionError(operation, 'it has sent its answer itself');
    }
    if (isStreaming(value)) {
      discard(value);
      throw new AnswerOutsideTransactionError(operation, 'it returned a stream');
    }
    return value;
  }

  private encode({ operation: { operation }, response }: TransactionalCall, answer: GivenAnswer): string {
    const headers = listedHeaders((name) => response.getHeader(name), this.options.replayHeaders);
    return encodeAnswer(answer, headers, this.options.maxResponseBytes, (reason, cause) =>
      this.incidents.report({
        code: 'ANSWER_NOT_STORED',
        source: 'idempotency.http',
        message: `the answer of ${operation} is ${reason}; its repetition will be refused`,
        cause,
      }),
    );
  }

  private get adapter(): AbstractHttpAdapter {
    return this.adapterHost.httpAdapter;
  }
}

/** A result with a status that says "no", in the place of the exception that could have said it. */
class StatusRefusal extends HttpException {
  constructor(readonly given: GivenAnswer) {
    super((given.value ?? STATUS_CODES[given.status] ?? 'refused') as string | object, given.status);
  }
}

function thrown(exception: HttpException): GivenAnswer {
  return { status: exception.getStatus(), value: exception.getResponse(), isError: true };
}

/** Nobody will read it, and it may hold a file open. */
function discard(stream: unknown): void {
  const source = stream instanceof StreamableFile ? stream.getStream() : stream;
  if (source instanceof Readable) source.destroy();
}
