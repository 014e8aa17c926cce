import { Incidents, isLockstepError } from '@lockstep/core';
import { type CallHandler, type ExecutionContext, Inject, Injectable, type NestInterceptor } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';
import { catchError, from, lastValueFrom, type Observable, of, throwError } from 'rxjs';
import { unwrapVerdict } from '../failure-verdict.js';
import { IdempotentMutations } from '../graphql/idempotent-mutations.js';
import { IdempotencyKeyMissingError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { Operation } from '../operation.js';
import { requestScope } from '../scope.js';
import { type Consumed, IdempotencyTokens } from '../tokens/idempotency-tokens.service.js';
import { tokenOf } from '../tokens/token-place.js';
import { AnswerKeeper, type AnyResponse, type Exchange } from './answer-keeper.js';
import { type HttpRequest, operationOf, payloadOf, rawResponse, whileThere } from './http-exchange.js';
import { parseIdempotencyKey } from './idempotency-key.js';
import { IdempotentRoutes, type KeptRoute } from './idempotent-routes.js';
import { replayAnswer } from './replay.js';
import { routeHost } from './route-host.js';
import { routeVersion } from './route-version.js';
import { TransactionalExchange } from './transactional-exchange.js';

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
    @Inject(IdempotencyTokens) private readonly tokens: IdempotencyTokens,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(IdempotentRoutes) private readonly routes: IdempotentRoutes,
    @Inject(IdempotentMutations) private readonly mutations: IdempotentMutations,
    @Inject(AnswerKeeper) private readonly keeper: AnswerKeeper,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
    @Inject(TransactionalExchange) private readonly transactional: TransactionalExchange,
  ) {
    this.header = options.header.toLowerCase();
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> | Promise<Observable<unknown>> {
    const type = context.getType<string>();
    if (type !== 'http' && type !== 'graphql') return next.handle();
    const route = this.routes.of(context);
    if (!route) return next.handle();
    if (type === 'graphql') return from(this.mutations.keep(route, context, next));
    const request = context.getArgByIndex<HttpRequest>(REQUEST);
    const key = this.keyOf(route, request);
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
    if (route.mode === 'transactional') {
      const operation = await this.asked(key, context);
      return of(await this.transactional.answer({ operation, policy: route.policy, next, response }));
    }
    const begun = await this.begin(route, key, context, response);
    if (begun === 'bypassed') {
      this.adapterHost.httpAdapter.setHeader(response, STATUS, begun);
      return next.handle();
    }
    if (begun.kind === 'taken') {
      return next.handle().pipe(catchError((error: unknown) => throwError(() => unwrapVerdict(error))));
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
  ): Promise<Consumed | 'bypassed'> {
    const given = this.asked(key, context);
    const asked = given instanceof Promise ? await given : given;
    const mayWait = (route.policy.waitMs ?? this.options.waitMs) > 0;
    try {
      if (!mayWait) return await this.ask(route, asked);
      return await whileThere(rawResponse(response), (signal) => this.ask(route, asked, signal));
    } catch (error) {
      if (route.onStoreDown !== 'bypass' || !isUnavailable(error)) throw error;
      this.incidents.report({
        code: 'IDEMPOTENCY_BYPASSED',
        source: 'idempotency.http',
        message: `${asked.operation} runs without a claim, because the store is down`,
        cause: error,
      });
      return 'bypassed';
    }
  }

  private asked(key: string, context: ExecutionContext): Operation | Promise<Operation> {
    const request = context.getArgByIndex<HttpRequest>(REQUEST);
    const operation = operationOf(request, {
      version: routeVersion(context, this.config),
      host: routeHost(context),
    });
    const payload = payloadOf(request, operation);
    const scope = requestScope(this.options.scope, context);
    if (typeof scope === 'string') return { scope, operation, key, payload };
    return scope.then((resolved) => ({ scope: resolved, operation, key, payload }));
  }

  private ask({ token, policy }: KeptRoute, asked: Operation, signal?: AbortSignal): Promise<Consumed> {
    if (!token) return this.service.begin(asked, policy, signal);
    const { scope, key, payload } = asked;
    return this.tokens.consume({ token: key, purpose: token.purpose, scope, payload }, policy, signal);
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

  private keyOf({ token }: KeptRoute, request: HttpRequest): string | undefined {
    if (token) return tokenOf(request, token.place);
    return parseIdempotencyKey(request.headers[this.header], this.options.header, this.options.key);
  }
}

function isUnavailable(error: unknown): boolean {
  return isLockstepError(error) && error.kind === 'unavailable';
}
