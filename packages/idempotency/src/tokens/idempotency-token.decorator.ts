import { ConfigurationError, type Guarantee } from '@lockstep/core';
import { IdempotencyService } from '../idempotency.service.js';
import { type IdempotentDecorator, routeDecorator } from '../idempotent.decorator.js';
import { type PolicyOptions, resolvePolicy } from '../resolve-policy.js';
import { checkedPurpose } from './token-options.js';
import { resolveTokenPlace, type TokenPlace } from './token-place.js';

export interface IdempotencyTokenRouteOptions extends PolicyOptions {
  /** Where the request brings the token. An upload, whose body is read later, brings it in a header. @default 'header' */
  readonly from?: TokenPlace;
}

const GUARANTEE: Guarantee<IdempotencyService> = {
  name: 'IdempotencyToken',
  layer: 'idempotency',
  runtime: IdempotencyService,
  module: 'IdempotencyModule.forRoot(…)',
};

/**
 * A submit takes effect once per token that `@IssueIdempotencyToken` or {@link IdempotencyTokens.issue} has given to the
 * same user for the same purpose; its repetitions get the first answer. One that is refused before the handler, or of which
 * the handler says `NotApplied`, gives its token back, for any payload. A refusal that is stored is the answer to what was
 * submitted: a corrected form needs a new token. For routes of controllers; it belongs above other guarantees.
 *
 * What breaks it: what breaks `@Idempotent`. In mode `single` there is no record: repetitions are refused, and whatever
 * becomes of the submit, its token is used up.
 *
 * @param purpose the name that it was issued for
 */
export function IdempotencyToken(purpose: string, options: IdempotencyTokenRouteOptions = {}): IdempotentDecorator {
  if (typeof options !== 'object' || options === null) {
    throw ConfigurationError.option('options', options, 'the options of @IdempotencyToken as an object');
  }
  const token = { purpose: checkedPurpose(purpose), place: resolveTokenPlace('from', options.from ?? 'header') };
  const policy = resolvePolicy(options);
  return routeDecorator(GUARANTEE, { required: true, mode: 'lease', onStoreDown: 'reject', policy, token });
}
