import { ConfigurationError, Incidents } from '@lockstep/core';
import {
  type CallHandler,
  type ExecutionContext,
  HttpException,
  Inject,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { type AbstractHttpAdapter, ApplicationConfig, HttpAdapterHost } from '@nestjs/core';
import { lastValueFrom, type Observable, of } from 'rxjs';
import type { Execution } from '../execution.js';
import { unwrapVerdict } from '../failure-verdict.js';
import { IdempotencyKeyMissingError, OperationResultUnavailableError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { IdempotentRoute } from '../idempotent.decorator.js';
import type { ExecutionEnd } from '../operation.js';
import {
  type HttpRequest,
  type HttpResponse,
  headersOf,
  operationOf,
  payloadOf,
  prepareReplay,
} from './http-exchange.js';
import { httpVerdict, revivedException } from './http-failure.js';
import { parseIdempotencyKey } from './idempotency-key.js';
import { IdempotentRoutes } from './idempotent-routes.js';
import { routeVersion } from './route-version.js';
import { bodyValue, decodeAnswer, encodeAnswer, type GivenAnswer } from './stored-answer.js';

const LONGEST_SCOPE = 1_024;

/**
 * Keeps the promise of `@Idempotent` over HTTP. It stands outside of all other interceptors: what it stores is what is
 * sent, and what it replays passes none of them again. Guards have run before, on a replay too.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  private readonly header: string;

  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(IdempotentRoutes) private readonly routes: IdempotentRoutes,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
  ) {
    this.header = options.header.toLowerCase();
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> | Promise<Observable<unknown>> {
    if (context.getType() !== 'http') return next.handle();
    const route = this.routes.of(context.getHandler());
    return route ? this.keep(route, context, next) : next.handle();
  }

  private async keep(
    route: IdempotentRoute,
    context: ExecutionContext,
    next: CallHandler,
  ): Promise<Observable<unknown>> {
    const http = context.switchToHttp();
    const request = http.getRequest<HttpRequest>();
    const response = http.getResponse<HttpResponse>();
    const key = parseIdempotencyKey(request.headers[this.header], this.options.header, this.options.key);
    if (key === undefined) {
      if (route.required) throw new IdempotencyKeyMissingError(this.options.header);
      return next.handle();
    }
    const scope = await this.scopeOf(context);
    const operation = operationOf(request, routeVersion(context, this.config));
    const payload = payloadOf(request, operation);
    const begun = await this.service.begin({ scope, operation, key, payload }, route.policy);
    if (begun.kind === 'replay') return of(this.replay(begun.response, response));
    return of(await this.execute(begun.execution, next, response));
  }

  /**
   * Waits for the answer here instead of handing the stream on: Nest lets go of an Observable when the client
   * disconnects, and then nobody would store what happened.
   */
  private async execute(execution: Execution, next: CallHandler, response: HttpResponse): Promise<unknown> {
    let value: unknown;
    try {
      value = await execution.run(() => lastValueFrom(next.handle(), { defaultValue: undefined }));
    } catch (error) {
      await this.service.fail(execution, error, {
        byRule: (failure) => this.endOf(execution, failure, response),
        asAnswer: (failure) => this.answerOf(execution, failure, response),
      });
      throw unwrapVerdict(error);
    }
    const text = this.encode(execution, response, { status: response.statusCode, value, isError: false });
    await this.service.end(execution, { to: 'completed', response: text });
    return value;
  }

  /** What an `HttpException` of the handler says; undefined for every other error. */
  private endOf(execution: Execution, error: unknown, response: HttpResponse): ExecutionEnd | undefined {
    switch (httpVerdict(error)) {
      case 'answer':
        return this.answerOf(execution, error, response);
      case 'refusal':
        return { to: 'released', notApplied: false };
      case undefined:
        return undefined;
    }
  }

  private answerOf(execution: Execution, error: unknown, response: HttpResponse): ExecutionEnd | undefined {
    if (!(error instanceof HttpException)) return undefined;
    return { to: 'completed', response: this.encode(execution, response, { ...errorAnswer(error), isError: true }) };
  }

  private encode({ operation }: Execution, response: HttpResponse, answer: GivenAnswer): string {
    const headers = headersOf(this.adapter, response, this.options.replayHeaders);
    return encodeAnswer(answer, headers, this.options.maxResponseBytes, (reason, cause) =>
      this.incidents.report({
        code: 'ANSWER_NOT_STORED',
        source: 'idempotency.http',
        message: `the answer of ${operation} is ${reason}; its repetition will be refused`,
        cause,
      }),
    );
  }

  private replay(text: string, response: HttpResponse): unknown {
    const { status, headers, body } = decodeAnswer(text);
    if (body.kind === 'unavailable') throw new OperationResultUnavailableError();
    prepareReplay(this.adapter, response, { status, headers });
    if (body.kind === 'error') throw revivedException(status, body.value);
    return bodyValue(body);
  }

  private async scopeOf(context: ExecutionContext): Promise<string> {
    const { scope } = this.options;
    // A resolver's word never means the same as no scope at all.
    if (scope === 'global') return 'global';
    const resolved: unknown = await scope(context);
    if (typeof resolved !== 'string' || resolved === '' || resolved.length > LONGEST_SCOPE) {
      throw ConfigurationError.option('scope', resolved, `a function that returns 1 to ${LONGEST_SCOPE} characters`);
    }
    return `scope:${resolved}`;
  }

  private get adapter(): AbstractHttpAdapter {
    return this.adapterHost.httpAdapter;
  }
}

function errorAnswer(exception: HttpException): { readonly status: number; readonly value: unknown } {
  return { status: exception.getStatus(), value: exception.getResponse() };
}
