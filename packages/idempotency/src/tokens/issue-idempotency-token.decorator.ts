import { ConfigurationError, type Duration, injectHidden } from '@lockstep/core';
import type { Observable } from 'rxjs';
import { IdempotencyTokens } from './idempotency-tokens.service.js';
import { checkedPurpose } from './token-options.js';
import { type ResolvedTokenPlace, resolveTokenPlace, type TokenPlace } from './token-place.js';

export interface IssueIdempotencyTokenOptions<Place extends TokenPlace = TokenPlace> {
  /** @default the one of the purpose, else the module's `tokens.ttl` */
  readonly ttl?: Duration;
  /** Where the answer takes the token along. A field of the body also reaches a view (`@Render`). @default 'header' */
  readonly deliver?: Place;
}

type Answer<Result> = Result extends Promise<infer Value> | Observable<infer Value> ? Value : Result;

/**
 * `unknown` where the answer of a method can take a token along there, else a type that no descriptor has, so that the
 * compiler refuses the decorator and names the reason.
 */
export type CanDeliver<
  Place extends TokenPlace,
  Method extends (...args: never[]) => unknown,
> = Place extends `body.${string}`
  ? Answer<ReturnType<Method>> extends object
    ? unknown
    : { readonly 'lockstep: this answer is no object, which a token in its body needs': ReturnType<Method> }
  : unknown;

export type IssuingDecorator<Place extends TokenPlace> = <Method extends (...args: never[]) => unknown>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & CanDeliver<Place, Method>,
) => void;

/** What {@link IssueIdempotencyToken} says about a route. */
export interface IssuingRoute {
  readonly purpose: string;
  readonly ttl: Duration | undefined;
  readonly place: ResolvedTokenPlace;
}

const ROUTE = 'lockstep:issuing-route';
/** Nobody reads it: without the module no token would be issued, so the application must not start. */
const NEEDS_MODULE = Symbol('@IssueIdempotencyToken needs IdempotencyModule.forRoot(…)');

/**
 * Every answer of the handler brings a new token for one submit of a form, bound to the user by the module's `scope`.
 * The answer is not to be cached (`Cache-Control: no-store`). A handler that throws brings none.
 *
 * @param purpose the name under which `@IdempotencyToken` takes it
 */
export function IssueIdempotencyToken<Place extends TokenPlace = 'header'>(
  purpose: string,
  options: IssueIdempotencyTokenOptions<Place> = {},
): IssuingDecorator<Place> {
  if (typeof options !== 'object' || options === null) {
    throw ConfigurationError.option('options', options, 'the options of @IssueIdempotencyToken as an object');
  }
  const place = resolveTokenPlace('deliver', options.deliver ?? 'header');
  const route: IssuingRoute = Object.freeze({ purpose: checkedPurpose(purpose), ttl: options.ttl, place });
  return (target, _property, descriptor) => {
    if (typeof target === 'function' || typeof descriptor?.value !== 'function') {
      throw new ConfigurationError('@IssueIdempotencyToken belongs on a method of an instance.');
    }
    injectHidden(target, NEEDS_MODULE, IdempotencyTokens);
    Reflect.defineMetadata(ROUTE, route, descriptor.value);
  };
}

export function issuingRouteOf(handler: object): IssuingRoute | undefined {
  return Reflect.getOwnMetadata(ROUTE, handler) as IssuingRoute | undefined;
}
