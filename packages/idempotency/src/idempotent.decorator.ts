import { attachGuarantee, ConfigurationError, type Duration, durationMs, type Guarantee } from '@lockstep/core';
import type { Observable } from 'rxjs';
import { Execution } from './execution.js';
import {
  checkedPolicy,
  checkedVerdict,
  concurrentWaitMs,
  type ErrorVerdict,
  type OnConcurrent,
  type OnStoreDown,
} from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { ExecutionPolicy } from './operation.js';
import type { TokenSource } from './tokens/token-place.js';

export interface IdempotentOptions {
  /**
   * Whether a request without the header is refused (400). If not, it runs every time it is sent.
   * @default true
   */
  readonly required?: boolean;
  /** @default the module's `onLeaseExpiry` */
  readonly onLeaseExpiry?: LeaseExpiryPolicy;
  /** @default the module's `retention` */
  readonly retention?: Duration;
  /** @default the module's `onConcurrent` */
  readonly onConcurrent?: OnConcurrent;
  /** @default the module's `onError` */
  readonly onError?: ErrorVerdict;
  /**
   * `'reject'`: 503 while the store is down. `'bypass'`: the handler runs without any guarantee, the answer says
   * `Idempotency-Status: bypassed`, and an incident `IDEMPOTENCY_BYPASSED` is reported. Only where the work cannot do
   * harm twice.
   * @default 'reject'
   */
  readonly onStoreDown?: OnStoreDown;
  /**
   * `'lease'`: claim and answer are written apart from the work. `'transactional'`: claim, work and answer are one SQL
   * transaction that begins before the handler and has committed before the answer leaves; the module's store must be
   * one that can. Then there is no lease, and no outcome is unknown but that of the commit itself.
   * @default 'lease'
   */
  readonly mode?: IdempotencyMode;
}

export type IdempotencyMode = 'lease' | 'transactional';

/** What a route may say of its executions, wherever their key comes from. */
export type PolicyOptions = Pick<IdempotentOptions, 'onLeaseExpiry' | 'retention' | 'onConcurrent' | 'onError'>;

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

const GUARANTEE: Guarantee<IdempotencyService> = {
  name: 'Idempotent',
  layer: 'idempotency',
  runtime: IdempotencyService,
  module: 'IdempotencyModule.forRoot(…)',
};

/**
 * A request takes effect once per `Idempotency-Key`, and every repetition gets the first answer, also from another
 * process and after a restart of this one. For routes of controllers. It belongs above other guarantees.
 *
 * What breaks it: a store that loses acknowledged writes; `onLeaseExpiry: 'retry'` with a handler whose first run is
 * still alive; calling the method from code, where there is no header. A handler that returns an Observable returns a
 * promise of it once decorated, which is the same to Nest.
 */
export function Idempotent(options: IdempotentOptions = {}): IdempotentDecorator {
  return routeDecorator(GUARANTEE, resolveRoute(options));
}

/** Marks a route for the interceptor, under the name of whichever decorator asks. */
export function routeDecorator(guarantee: Guarantee<IdempotencyService>, route: IdempotentRoute): IdempotentDecorator {
  return (target, property, descriptor) => {
    attachGuarantee(target, property, descriptor, guarantee, (_service, call) => {
      // The interceptor holds the claim; here it only learns that guards, pipes and interceptors have let it through.
      const execution = Execution.current();
      return execution ? execution.follow(() => call.proceed()) : call.proceed();
    });
    Reflect.defineMetadata(ROUTE, route, descriptor.value as object);
  };
}

export function idempotentRouteOf(handler: object): IdempotentRoute | undefined {
  return Reflect.getOwnMetadata(ROUTE, handler) as IdempotentRoute | undefined;
}

/** @throws ConfigurationError naming the option and its value */
function resolveRoute(options: IdempotentOptions): IdempotentRoute {
  if (typeof options !== 'object' || options === null) {
    throw ConfigurationError.option('options', options, 'the options of @Idempotent as an object');
  }
  const { required = true, mode = 'lease', onStoreDown = 'reject' } = options;
  if (typeof required !== 'boolean') throw ConfigurationError.option('required', required, 'true or false');
  if (!['lease', 'transactional'].includes(mode)) {
    throw ConfigurationError.option('mode', mode, "'lease' or 'transactional'");
  }
  if (!['reject', 'bypass'].includes(onStoreDown)) {
    throw ConfigurationError.option('onStoreDown', onStoreDown, "'reject' or 'bypass'");
  }
  return Object.freeze({ required, mode, onStoreDown, policy: resolvePolicy(options) });
}

export function resolvePolicy({ onLeaseExpiry, retention, onConcurrent, onError }: PolicyOptions): ExecutionPolicy {
  return Object.freeze({
    ...(onLeaseExpiry === undefined ? {} : { onLeaseExpiry: checkedPolicy(onLeaseExpiry) }),
    ...(retention === undefined ? {} : { retentionMs: durationMs(retention, 'retention', { minMs: 1_000 }) }),
    ...(onConcurrent === undefined ? {} : { waitMs: concurrentWaitMs(onConcurrent) }),
    ...(onError === undefined ? {} : { onError: checkedVerdict(onError) }),
  });
}
