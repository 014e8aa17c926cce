import { ConfigurationError, Incidents, isLockstepError } from '@lockstep/core';
import { type CallHandler, type ExecutionContext, Inject, Injectable, type NestInterceptor } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';
import { lastValueFrom, type Observable, of } from 'rxjs';
import { unwrapVerdict } from '../failure-verdict.js';
import { IdempotencyKeyMissingError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { Begun, Operation } from '../operation.js';
import { AnswerKeeper, type AnyResponse, type Exchange } from './answer-keeper.js';
import { type HttpRequest, operationOf, payloadOf, rawResponse, whileThere } from './http-exchange.js';
import { parseIdempotencyKey } from './idempotency-key.js';
import { IdempotentRoutes, type KeptRoute } from './idempotent-routes.js';
import { replayAnswer } from './replay.js';
import { routeVersion } from './route-version.js';

const LONGEST_SCOPE = 1_024;
const STATUS = 'Idempotency-Status';
/** Places among the arguments of a route; `switchToHttp()` would make three functions for each request. */
const REQUEST = 0;
const RESPONSE = 1;

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
    @Inject(AnswerKeeper) private readonly keeper: AnswerKeeper,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
  ) {
    this.header = options.header.toLowerCase();
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> | Promise<Observable<unknown>> {
    if (context.getType() !== 'http') return next.handle();
    const route = this.routes.of(context);
    if (!route) return next.handle();
    const request = context.getArgByIndex<HttpRequest>(REQUEST);
    const key = parseIdempotencyKey(request.headers[this.header], this.options.header, this.options.key);
    if (key !== undefined) return this.keep(route, key, context, next);
    if (route.required) throw new IdempotencyKeyMissingError(this.options.header);
    return next.handle();
  }

  private async keep(
    route: KeptRoute,
    key: string,
    context: ExecutionContext,
    next: CallHandler,
  ): Promise<Observable<unknown>> {
    const response = context.getArgByIndex<AnyResponse>(RESPONSE);
    const begun = await this.begin(route, key, context, response);
    if (begun === 'bypassed') {
      this.adapterHost.httpAdapter.setHeader(response, STATUS, begun);
      return next.handle();
    }
    if (begun.kind === 'replay') {
      return of(replayAnswer(this.adapterHost.httpAdapter, response, begun.response, route.answersItself));
    }
    return of(await this.execute({ execution: begun.execution, route, response }, next));
  }

  private async begin(
    route: KeptRoute,
    key: string,
    context: ExecutionContext,
    response: AnyResponse,
  ): Promise<Begun | 'bypassed'> {
    const request = context.getArgByIndex<HttpRequest>(REQUEST);
    const given = this.scopeOf(context);
    const scope = typeof given === 'string' ? given : await given;
    const operation = operationOf(request, routeVersion(context, this.config));
    const asked: Operation = { scope, operation, key, payload: payloadOf(request, operation) };
    const { policy } = route;
    const mayWait = (policy.waitMs ?? this.options.waitMs) > 0;
    try {
      if (!mayWait) return await this.service.begin(asked, policy);
      return await whileThere(rawResponse(response), (signal) => this.service.begin(asked, policy, signal));
    } catch (error) {
      if (route.onStoreDown !== 'bypass' || !isUnavailable(error)) throw error;
      this.incidents.report({
        code: 'IDEMPOTENCY_BYPASSED',
        source: 'idempotency.http',
        message: `${operation} runs without a claim, because the store is down`,
        cause: error,
      });
      return 'bypassed';
    }
  }

  /**
   * Waits for the answer here instead of handing the stream on: Nest lets go of an Observable when the client
   * disconnects, and then nobody would store what happened.
   */
  private async execute(exchange: Exchange, next: CallHandler): Promise<unknown> {
    const capture = exchange.route.answersItself ? this.keeper.listen(exchange) : undefined;
    let value: unknown;
    try {
      value = await exchange.execution.run(() => lastValueFrom(next.handle(), { defaultValue: undefined }));
    } catch (error) {
      await this.keeper.fail(exchange, error, capture);
      throw unwrapVerdict(error);
    }
    if (capture) capture.handlerOver();
    else await this.keeper.keepResult(exchange, value);
    return value;
  }

  private scopeOf(context: ExecutionContext): string | Promise<string> {
    const { scope } = this.options;
    // A resolver's word never means the same as no scope at all.
    if (scope === 'global') return 'global';
    const resolved: unknown = scope(context);
    return resolved instanceof Promise ? resolved.then(checkedScope) : checkedScope(resolved);
  }
}

function checkedScope(resolved: unknown): string {
  if (typeof resolved !== 'string' || resolved === '' || resolved.length > LONGEST_SCOPE) {
    throw ConfigurationError.option('scope', resolved, `a function that returns 1 to ${LONGEST_SCOPE} characters`);
  }
  return `scope:${resolved}`;
}

function isUnavailable(error: unknown): boolean {
  return isLockstepError(error) && error.kind === 'unavailable';
}
