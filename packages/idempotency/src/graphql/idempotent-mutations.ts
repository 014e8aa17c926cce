import { type CallHandler, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { lastValueFrom } from 'rxjs';
import { parseIdempotencyKey } from '../http/idempotency-key.js';
import { IdempotencyKeyInvalidError, IdempotencyKeyMissingError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import type { IdempotentRoute } from '../idempotent.decorator.js';
import { OperationRunner } from '../operation-runner.js';
import { requestScope } from '../scope.js';
import { assertHandlerEnded } from '../transactional/transactional-call.js';
import { mutationRequestOf } from './mutation-request.js';
import { resolvedValueCodec } from './resolved-value.codec.js';

const LONGEST_ALIAS = 200;

/**
 * Keeps the promise of `@Idempotent` on mutations of GraphQL. The header is that of the whole request, so the alias is
 * part of the key: two mutations of one document do not share it. What is stored is what the resolver gave, after the
 * interceptors; fields of it are resolved again.
 */
@Injectable()
export class IdempotentMutations {
  constructor(
    @Inject(OperationRunner) private readonly runner: OperationRunner,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
  ) {}

  /**
   * @throws IdempotencyKeyMissingError @throws IdempotencyKeyInvalidError @throws as {@link OperationRunner.run}
   */
  async keep(route: IdempotentRoute, context: ExecutionContext, next: CallHandler): Promise<unknown> {
    const { header } = this.options;
    const { field, alias, args, headers } = mutationRequestOf(context);
    const operation = `mutation ${field}`;
    const work = async (): Promise<unknown> => {
      const value: unknown = await lastValueFrom(next.handle(), { defaultValue: undefined });
      if (route.mode === 'transactional') assertHandlerEnded(operation);
      return value;
    };
    const key = parseIdempotencyKey(headers[header.toLowerCase()], header, this.options.key);
    if (key === undefined) {
      if (route.required) throw new IdempotencyKeyMissingError(header);
      return work();
    }
    if (alias.length > LONGEST_ALIAS) {
      throw new IdempotencyKeyInvalidError(header, `goes with aliases of at most ${LONGEST_ALIAS} characters`);
    }
    const scope = await requestScope(this.options.scope, context);
    const running = { ...route, codec: resolvedValueCodec };
    return this.runner.run({ scope, operation, key: `${alias}:${key}`, payload: [operation, args] }, running, work);
  }
}
