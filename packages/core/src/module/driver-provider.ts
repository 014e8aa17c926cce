import type { FactoryProvider, InjectionToken, OptionalFactoryDependency } from '@nestjs/common';
import { ConfigurationError } from '../errors/configuration.error.js';

/**
 * A driver as a module takes it: what it needs from the container and how it is made from that. Functions such as
 * `redisLockStore()` return one, so that the driver's connection is resolved by Nest and closed by its owner.
 */
export interface DriverProvider<Port> {
  readonly inject?: readonly (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of the injected values are known to the driver alone
  useFactory(...dependencies: any[]): Port | Promise<Port>;
}

/**
 * The part of a Nest provider that makes the driver; the token is the module's: `{ provide: LOCK_STORE, ...checkedDriver(…) }`.
 *
 * @throws ConfigurationError naming the option and its value, where a program without types passed something else
 */
export function checkedDriver<Port>(
  option: string,
  driver: DriverProvider<Port>,
): Required<Pick<FactoryProvider<Port>, 'inject' | 'useFactory'>> {
  const given: Partial<DriverProvider<Port>> | null | undefined = driver;
  if (typeof given?.useFactory !== 'function' || !Array.isArray(given.inject ?? [])) {
    throw ConfigurationError.option(option, driver, 'a driver, such as memoryLockStore() or bullmqTransport(…) return');
  }
  return { inject: [...(driver.inject ?? [])], useFactory: (...injected) => driver.useFactory(...injected) };
}
