import { resolverTypeOf } from '../graphql/resolver-type.js';
import type { IdempotencyStore } from '../idempotency-store.js';
import { idempotentRouteOf } from '../idempotent.decorator.js';
import { issuingRouteOf } from '../tokens/issue-idempotency-token.decorator.js';
import { whyNoTransaction } from '../transactional/transactional-route.js';
import { type MarkedMethod, refused } from './marked-method.js';

/** Metadata of Nest's router, the same in 11 and 12; the module that names them is not public in 11. */
const PATH = 'path';
const ROUTE_ARGS = '__routeArguments__';
const PASSTHROUGH = '__responsePassthrough__';
const SSE = '__sse__';
/** Of `@nestjs/microservices`, which is no dependency. */
const MESSAGE_PATTERN = 'microservices:pattern';
/** Of TypeScript, where it emits metadata. */
const RETURN_TYPE = 'design:returntype';
const RENDER = '__renderTemplate__';
const REDIRECT = '__redirect__';
const RESPONSE_PARAM = '1';
const NEXT_PARAM = '2';
const KEY_ADVICE = 'say @Idempotent({ key }) to take the key from its arguments';

type AnsweringMethod = Omit<MarkedMethod, 'type'> & { readonly type: object };

/**
 * Refuses a route whose answer could not be told again, or is not its own.
 *
 * @throws ConfigurationError naming the method and what is wrong with it
 */
export function checkRoute(method: MarkedMethod, store: IdempotencyStore): void {
  const { type, property, handler, decorators } = method;
  if (decorators.length > 1) throw refused(method, 'takes one of them: a request has one key');
  if (!Reflect.hasMetadata(PATH, handler)) throw refused(method, `is no HTTP route; ${KEY_ADVICE}`);
  if (Reflect.hasMetadata(MESSAGE_PATTERN, handler)) {
    throw refused(method, `also handles messages, which bring no header; ${KEY_ADVICE}`);
  }
  assertOwnAnswer(method);
  // Its answer is changed, not kept: what a template is rendered with may well bring a token.
  if (issuingRouteOf(handler)) assertAnswersByResult(method);
  else if (Reflect.hasMetadata(RENDER, handler)) {
    throw refused(
      method,
      'gives Nest a template to render; render it through @Res(), so that what is sent can be kept',
    );
  }
  assertOneTransaction(method, store, answersItself(type, property, handler));
}

/** @throws ConfigurationError where the mode is `'transactional'` and the method cannot be kept in it */
function assertOneTransaction(method: MarkedMethod, store: IdempotencyStore, answersItself: boolean): void {
  const { type, property, handler } = method;
  const returnType: unknown = Reflect.getMetadata(RETURN_TYPE, type.prototype as object, property);
  const reason = whyNoTransaction(handler, store, { returnType, answersItself });
  if (reason) throw refused(method, reason);
}

/**
 * A resolver is a provider; any other has no request that could bring a key.
 *
 * @throws ConfigurationError
 */
export function checkMutation(method: MarkedMethod, store: IdempotencyStore): void {
  const { handler } = method;
  const kind = resolverTypeOf(handler);
  if (kind !== 'Mutation') {
    throw refused(method, `is no ${kind === undefined ? 'route of a controller' : 'mutation'}; ${KEY_ADVICE}`);
  }
  if (idempotentRouteOf(handler)?.token || issuingRouteOf(handler)) {
    throw refused(method, 'is a mutation, which brings no token');
  }
  assertOneTransaction(method, store, false);
}

/**
 * Refuses a handler whose result is not what answers the request, so that repeating it would answer nothing.
 *
 * @throws ConfigurationError
 */
export function assertAnswersByResult(method: AnsweringMethod): void {
  assertOwnAnswer(method);
  const { type, property, handler } = method;
  if (!answersItself(type, property, handler)) return;
  throw refused(method, 'answers by @Res() itself; use @Res({ passthrough: true }) and return the answer');
}

function assertOwnAnswer(method: AnsweringMethod): void {
  const { type, property, handler } = method;
  if (Reflect.getMetadata(SSE, handler) === true) {
    throw refused(method, 'sends events, which can neither be told again nor bring a token');
  }
  if (takes(NEXT_PARAM, type, property)) {
    throw refused(method, 'may hand the request on by @Next(), and then the answer is not its own');
  }
}

/** Whether Nest sends nothing; as Nest decides it: where it redirects, it answers whatever the handler takes. */
export function answersItself(type: object, property: string | symbol, handler: object): boolean {
  const redirect = Reflect.getMetadata(REDIRECT, handler) as { readonly url?: unknown } | undefined;
  const isPassthrough = Reflect.getMetadata(PASSTHROUGH, type, property) === true;
  return takes(RESPONSE_PARAM, type, property) && !isPassthrough && typeof redirect?.url !== 'string';
}

function takes(param: string, type: object, property: string | symbol): boolean {
  const args = (Reflect.getMetadata(ROUTE_ARGS, type, property) ?? {}) as Readonly<Record<string, unknown>>;
  return Object.keys(args).some((arg) => arg.split(':')[0] === param);
}
