import { Inject } from '@nestjs/common';
import { ConfigurationError } from '../errors/configuration.error.js';
import type { Guarantee } from './guarantee.js';

const properties = new Map<unknown, symbol>();
const PASS_THROUGH = Symbol.for('lockstep:pass-through');

/** The property under which an instance finds the runtime of a guarantee: a symbol, so that no field collides. */
function runtimeProperty(guarantee: Guarantee<unknown>): symbol {
  let property = properties.get(guarantee.runtime);
  if (!property) {
    property = Symbol(`lockstep:${guarantee.name}`);
    properties.set(guarantee.runtime, property);
  }
  return property;
}

/** Lets Nest inject the runtime into every instance of the class, in whichever application and scope it is made. */
export function injectRuntime(prototype: object, guarantee: Guarantee<unknown>): void {
  Inject(guarantee.runtime)(prototype, runtimeProperty(guarantee));
}

/** For instances that Nest did not construct and so did not inject into. */
export function setRuntime(instance: object, guarantee: Guarantee<unknown>, runtime: unknown): void {
  Object.defineProperty(instance, runtimeProperty(guarantee), { value: runtime, configurable: true, writable: true });
}

/**
 * The runtime of a guarantee on an instance; undefined where the instance was marked by `withoutGuarantees()` of
 * `@lockstep/testing`.
 *
 * @throws ConfigurationError when there is none: the promise cannot be kept, so the method must not run
 */
export function runtimeOf<Runtime>(instance: object, guarantee: Guarantee<Runtime>, name: string): Runtime | undefined {
  const holder = instance as Record<symbol, unknown>;
  if (holder[PASS_THROUGH] === true) return undefined;
  const runtime = holder[runtimeProperty(guarantee)];
  if (runtime === undefined) {
    throw new ConfigurationError(
      `${name} is decorated with @${guarantee.name}, but this instance was not made by Nest, so it has no runtime. ` +
        `Let Nest provide the class with ${guarantee.module} imported; in a unit test, mark the instance with ` +
        'withoutGuarantees() from @lockstep/testing.',
    );
  }
  return runtime as Runtime;
}
