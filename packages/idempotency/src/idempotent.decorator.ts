import { attachGuarantee, ConfigurationError, type Duration, type Guarantee } from '@lockstep/core';
import type { Observable } from 'rxjs';
import { Execution } from './execution.js';
import type { ErrorVerdict, OnConcurrent, OnStoreDown } from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import { onMethod } from './method/keyed-method.js';
import type {
  DataOfCall,
  EncodedMethodDecorator,
  IdempotentMethodDecorator,
  ResultCodec,
  ScopeOfCall,
  TextOfCall,
} from './method/method-types.js';
import type { ExecutionPolicy } from './operation.js';
import { resolveRunning } from './resolve-policy.js';
import type { TransactionIsolation } from './store-abilities.js';
import type { TokenSource } from './tokens/token-place.js';
import { callInTransaction } from './transactional/transactional-call.js';

/** What routes and methods have in common. */
export interface IdempotentPolicyOptions {
  /** @default the module's `onLeaseExpiry` */
  readonly onLeaseExpiry?: LeaseExpiryPolicy;
  /** @default the module's `retention` */
  readonly retention?: Duration;
  /** @default the module's `onConcurrent` */
  readonly onConcurrent?: OnConcurrent;
  /** @default the module's `onError` */
  readonly onError?: ErrorVerdict;
  /**
   * `'reject'`: 503 while the store is down. `'bypass'`: the handler runs without any guarantee, an HTTP answer says
   * `Idempotency-Status: bypassed`, and an incident `IDEMPOTENCY_BYPASSED` is reported. Only where the work cannot do
   * harm twice.
   * @default 'reject'
   */
  readonly onStoreDown?: OnStoreDown;
  /**
   * `'lease'`: claim and answer are written apart from the work. `'transactional'`: claim, work and answer are one SQL
   * transaction that begins before the handler and has committed before the answer leaves; the module's store must be
   * one that can. Then there is no lease, and no outcome is unknown but that of the commit itself. The handler must have
   * no effects but those of the transaction: the database may make it run again. On a method with a key it encloses what
   * stands below the decorator, so that a lock belongs above; on a route or a mutation it encloses everything, and a lock
   * belongs on a method of a provider. A call inside of an open transaction is refused.
   * @default 'lease'
   */
  readonly mode?: IdempotencyMode;
  /**
   * Of the transaction; only with the mode `'transactional'`. A `@Transactional()` inside that names another one fails.
   * @default the server's
   */
  readonly isolation?: TransactionIsolation;
}

/** Of a route, or of a GraphQL mutation: the key is a header of the request. */
export interface IdempotentOptions extends IdempotentPolicyOptions {
  /**
   * Whether a request without the header is refused (400). If not, it runs every time it is sent.
   * @default true
   */
  readonly required?: boolean;
  readonly key?: never;
}

/** Of any other method: the key is in the arguments. */
export interface IdempotentMethodOptions<
  Key extends TextOfCall = TextOfCall,
  Scope extends ScopeOfCall = ScopeOfCall,
  Payload extends DataOfCall = DataOfCall,
> extends IdempotentPolicyOptions {
  /**
   * Typed from the method: what its caller uses again to say that it means the same call. 1 to 1024 characters, none of
   * them a control character.
   */
  readonly key: Key;
  /**
   * Whose key it is, 1 to 1024 characters, typed from the method. `'global'` shares keys between all callers. Without it,
   * the principal of the `RequestContext`; where there is none, the call is refused.
   * @default the principal
   */
  readonly scope?: Scope;
  /**
   * What must be the same when the key is used again, typed from the method; plain data.
   * @default all arguments, but for what belongs to the delivery: a job of BullMQ counts by its name and data
   */
  readonly payload?: Payload;
  /**
   * Name of the operation, at most 200 characters, so that its keys survive a renaming. No other class may have it.
   * @default `Class.method`
   */
  readonly operation?: string;
}

/** For results that JSON would change. */
export interface EncodedResult<Result> {
  readonly codec: ResultCodec<Result>;
}

export type IdempotencyMode = 'lease' | 'transactional';

/** What {@link Idempotent} says about a route. */
export interface IdempotentRoute {
  readonly required: boolean;
  readonly mode: IdempotencyMode;
  readonly onStoreDown: OnStoreDown;
  readonly policy: ExecutionPolicy;
  /** Where the key comes from when it is not the header: a token that was issued. */
  readonly token?: TokenSource;
}

/** A handler whose answer Nest waits for. */
export type IdempotentHandler = (...args: never[]) => Promise<unknown> | Observable<unknown>;

export type IdempotentDecorator = <Method extends IdempotentHandler>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

const ROUTE = 'lockstep:idempotent-route';

const ON_ROUTE: Guarantee<IdempotencyService> = {
  name: 'Idempotent',
  layer: 'idempotency',
  runtime: IdempotencyService,
  module: 'IdempotencyModule.forRoot(…)',
};

/** The transaction itself: what must enclose a transaction encloses it. */
const IN_TRANSACTION: Guarantee<IdempotencyService> = { ...ON_ROUTE, layer: 'transactional-idempotency' };

type AnyOptions = IdempotentOptions | (IdempotentMethodOptions & Partial<EncodedResult<unknown>>);

/**
 * A call takes effect once per key, and every repetition gets the first answer, also from another process and after a
 * restart of this one. It belongs above other guarantees; with the mode `'transactional'`, below locks and orders.
 *
 * Without `key`, for routes of controllers and mutations of GraphQL: the key is the header `Idempotency-Key`, and calling
 * the method from code is no request. A handler that returns an Observable returns a promise of it once decorated, which
 * is the same to Nest.
 *
 * With `key`, for any method that returns a promise: repetitions get its result as JSON keeps it, or its `codec`. On a
 * route that is the result, not the answer: status, headers and interceptors are those of the repetition.
 *
 * What breaks it: a store that loses acknowledged writes; `onLeaseExpiry: 'retry'` with a handler whose first run is
 * still alive.
 *
 * @throws OperationInvalidError from a method with `key`, before anything happens: no key, or arguments that cannot be
 * compared; and what {@link IdempotencyService.begin}, or in one transaction {@link IdempotencyService.transact}, throws
 * @throws ConfigurationError at once when an option is not valid; from a method with `key` when nobody knows whose key it
 * is; at boot when two classes have the same operation
 */
export function Idempotent(options?: IdempotentOptions): IdempotentDecorator;
export function Idempotent<
  Key extends TextOfCall,
  Scope extends ScopeOfCall = 'global',
  Payload extends DataOfCall = () => unknown,
>(
  options: IdempotentMethodOptions<Key, Scope, Payload> & { readonly codec?: never },
): IdempotentMethodDecorator<Key, Scope, Payload>;
export function Idempotent<
  Key extends TextOfCall,
  Result,
  Scope extends ScopeOfCall = 'global',
  Payload extends DataOfCall = () => unknown,
>(
  options: IdempotentMethodOptions<Key, Scope, Payload> & EncodedResult<Result>,
): EncodedMethodDecorator<Key, Scope, Payload, Result>;
export function Idempotent(options: AnyOptions = {}): IdempotentDecorator {
  if (typeof options !== 'object' || options === null) {
    throw ConfigurationError.option('options', options, 'the options of @Idempotent as an object');
  }
  return hasKey(options) ? onMethod(options) : routeDecorator(ON_ROUTE, resolveRoute(options));
}

/** A key that is undefined is a mistake and no wish for the header. */
function hasKey(options: AnyOptions): options is Exclude<AnyOptions, IdempotentOptions> {
  return 'key' in options;
}

/** Marks a route for the interceptor, under the name of whichever decorator asks. */
export function routeDecorator(guarantee: Guarantee<IdempotencyService>, route: IdempotentRoute): IdempotentDecorator {
  return (target, property, descriptor) => {
    const isTransaction = route.mode === 'transactional';
    attachGuarantee(target, property, descriptor, isTransaction ? IN_TRANSACTION : guarantee, (_service, call) => {
      const proceed = (): Promise<unknown> => (isTransaction ? callInTransaction(call) : call.proceed());
      // The interceptor holds the claim; here it only learns that guards, pipes and interceptors have let it through.
      const execution = Execution.current();
      return execution ? execution.follow(proceed) : proceed();
    });
    Reflect.defineMetadata(ROUTE, route, descriptor.value as object);
  };
}

export function idempotentRouteOf(handler: object): IdempotentRoute | undefined {
  return Reflect.getOwnMetadata(ROUTE, handler) as IdempotentRoute | undefined;
}

/** @throws ConfigurationError naming the option and its value */
function resolveRoute(options: IdempotentOptions): IdempotentRoute {
  const { required = true } = options;
  if (typeof required !== 'boolean') throw ConfigurationError.option('required', required, 'true or false');
  return Object.freeze({ required, ...resolveRunning(options) });
}
