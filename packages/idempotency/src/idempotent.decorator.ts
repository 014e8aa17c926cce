import { attachGuarantee, ConfigurationError, type Duration, durationMs, type Guarantee } from '@lockstep/core';
import type { Observable } from 'rxjs';
import { Execution } from './execution.js';
import { checkedPolicy } from './idempotency.options.js';
import { IdempotencyService } from './idempotency.service.js';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { ExecutionPolicy } from './operation.js';

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
}

/** What {@link Idempotent} says about a route. */
export interface IdempotentRoute {
  readonly required: boolean;
  readonly policy: ExecutionPolicy;
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
  const route = resolveRoute(options);
  return (target, property, descriptor) => {
    attachGuarantee(target, property, descriptor, GUARANTEE, (_service, call) => {
      // The interceptor holds the claim; here it only learns that guards, pipes and interceptors have let it through.
      Execution.current()?.enter();
      return call.proceed();
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
  const { required, onLeaseExpiry, retention } = options;
  if (required !== undefined && typeof required !== 'boolean') {
    throw ConfigurationError.option('required', required, 'true or false');
  }
  return Object.freeze({
    required: required ?? true,
    policy: Object.freeze({
      ...(onLeaseExpiry === undefined ? {} : { onLeaseExpiry: checkedPolicy(onLeaseExpiry) }),
      ...(retention === undefined ? {} : { retentionMs: durationMs(retention, 'retention', { minMs: 1_000 }) }),
    }),
  });
}
