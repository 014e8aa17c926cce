import type { InjectionToken, OptionalFactoryDependency } from '@nestjs/common';

/**
 * A driver as a module takes it: what it needs from the container and how it is made from that. Functions such as
 * `redisLockStore()` return one, so that the driver's connection is resolved by Nest and closed by its owner.
 */
export interface DriverProvider<Port> {
  readonly inject?: readonly (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of the injected values are known to the driver alone
  useFactory(...dependencies: any[]): Port | Promise<Port>;
}
