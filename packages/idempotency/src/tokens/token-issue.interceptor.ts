import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  StreamableFile,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { lastValueFrom, type Observable, of } from 'rxjs';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { requestScope } from '../scope.js';
import { IdempotencyTokens } from './idempotency-tokens.service.js';
import { type IssuingRoute, issuingRouteOf } from './issue-idempotency-token.decorator.js';
import { IdempotencyTokenUndeliverableError } from './token.errors.js';

/**
 * Puts a token into the answers of `@IssueIdempotencyToken`. It stands outside of all serializers, because it answers
 * with a plain object, of which they would not know what to leave out.
 */
@Injectable()
export class TokenIssueInterceptor implements NestInterceptor {
  constructor(
    @Inject(IdempotencyTokens) private readonly tokens: IdempotencyTokens,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> | Promise<Observable<unknown>> {
    const route = context.getType() === 'http' ? issuingRouteOf(context.getHandler()) : undefined;
    return route ? this.deliver(route, context, next) : next.handle();
  }

  private async deliver(
    { purpose, ttl, place }: IssuingRoute,
    context: ExecutionContext,
    next: CallHandler,
  ): Promise<Observable<unknown>> {
    const answer: unknown = await lastValueFrom(next.handle(), { defaultValue: undefined });
    const response: unknown = context.switchToHttp().getResponse();
    const name = `${context.getClass().name}.${context.getHandler().name}`;
    const fields = place.in === 'body' ? fieldsOf(answer, place.field, name) : {};
    const scope = await requestScope(this.options.scope, context);
    const token = await this.tokens.issue({ purpose, scope }, ttl === undefined ? {} : { ttl });
    const adapter = this.adapterHost.httpAdapter;
    // A copy from a cache would give two people, or one person twice, the same token.
    adapter.setHeader(response, 'Cache-Control', 'no-store');
    if (place.in === 'body') return of({ ...fields, [place.field]: token });
    adapter.setHeader(response, place.header, token);
    return of(answer);
  }
}

/**
 * The fields that the answer would be sent with.
 *
 * @throws IdempotencyTokenUndeliverableError
 */
function fieldsOf(answer: unknown, field: string, handler: string): object {
  const json: unknown = hasToJson(answer) ? answer.toJSON() : answer;
  if (typeof json !== 'object' || json === null || Array.isArray(json) || isBytes(json)) {
    throw new IdempotencyTokenUndeliverableError(handler, `body.${field}`, 'is no object with fields');
  }
  if (Object.hasOwn(json, field)) {
    throw new IdempotencyTokenUndeliverableError(handler, `body.${field}`, 'has that field already');
  }
  return json;
}

function hasToJson(value: unknown): value is { toJSON(): unknown } {
  return typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function';
}

function isBytes(value: object): boolean {
  return value instanceof StreamableFile || value instanceof Uint8Array || 'pipe' in value;
}
