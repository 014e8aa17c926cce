import { ConfigurationError, demandGuarantee, injectHidden } from '@lockstep/core';
import { DISTRIBUTED_LOCK } from './distributed-lock.guarantee.js';
import type { Lease as HeldLock } from './lease/lease.js';
import { LockService } from './lock.service.js';

const LEASE_PARAMS = 'lockstep:lease-params';
/** Nobody reads it: without the module nothing would look at the method, so the application must not start. */
const NEEDS_MODULE = Symbol('@Lease needs LockModule.forRoot(…)');

export type Lease<Fence extends bigint | undefined = bigint> = HeldLock<Fence>;

/**
 * The argument of a method with `@DistributedLock` that is the lease of the call, whoever calls the method: Nest's
 * router, a transport, a scheduler, or code, whose own argument there is replaced. Stands beside the parameter
 * decorators of Nest in any order. With two locks around the method it is the lease of the inner one;
 * where the key is a list, it is the `LeaseSet`.
 *
 * @throws ConfigurationError at once on anything but a parameter of a method of an instance; at boot when the method
 * has no `@DistributedLock`
 */
export function Lease(): ParameterDecorator {
  return (target, property, index) => {
    if (typeof target === 'function' || property === undefined || typeof index !== 'number') {
      const name = typeof target === 'function' ? target.name : target.constructor.name;
      throw new ConfigurationError(`@Lease() belongs on a parameter of a method of an instance; see ${name}.`);
    }
    Reflect.defineMetadata(LEASE_PARAMS, [...leaseParams(target, property), index], target, property);
    demandGuarantee(target, property, { by: '@Lease()', guarantee: DISTRIBUTED_LOCK });
    injectHidden(target, NEEDS_MODULE, LockService);
  };
}

/** The arguments of a call with the lease where the method, as this very prototype has it, wants it. */
export function withLease(
  args: readonly unknown[],
  lease: unknown,
  target: object,
  property: string | symbol,
): readonly unknown[] {
  const positions = leaseParams(target, property);
  if (positions.length === 0) return args;
  const given = [...args];
  for (const position of positions) given[position] = lease;
  return given;
}

function leaseParams(target: object, property: string | symbol): readonly number[] {
  return (Reflect.getOwnMetadata(LEASE_PARAMS, target, property) as number[] | undefined) ?? [];
}
