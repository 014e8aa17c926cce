import type { DiscoveryService } from '@nestjs/core';

export type Discovered = ReturnType<DiscoveryService['getProviders']>[number];

/**
 * Where the methods of a provider or controller are, also of one that a factory or a value brought along.
 *
 * @throws what an instance throws that refuses to be looked at
 */
export function prototypeOf({ isNotMetatype, instance, metatype }: Discovered): object | undefined {
  const prototype: unknown = isNotMetatype
    ? typeof instance === 'object' && instance !== null && Object.getPrototypeOf(instance)
    : metatype?.prototype;
  return typeof prototype === 'object' && prototype !== null ? prototype : undefined;
}
