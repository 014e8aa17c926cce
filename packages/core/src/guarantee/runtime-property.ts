import { ConfigurationError } from '../errors/configuration.error.js';
import { injectHidden } from '../module/hidden-injection.js';
import type { Guarantee } from './guarantee.js';

const properties = new WeakMap<Guarantee<unknown>, symbol>();
const PASS_THROUGH = Symbol.for('lockstep:pass-through');

/**
 * The property under which an instance finds the runtime of a guarantee: a symbol, so that no field collides. Its
 * description is what Nest prints when it cannot resolve the runtime, so it says what to import.
 */
function runtimeProperty(guarantee: Guarantee<unknown>): symbol {
  let property = properties.get(guarantee);
  if (!property) {
    property = Symbol(`@${guarantee.name} needs ${guarantee.module}`);
    properties.set(guarantee, property);
  }
  return property;
}

/** Lets Nest inject the runtime into every instance of the class. */
export function injectRuntime(prototype: object, guarantee: Guarantee<unknown>): void {
  injectHidden(prototype, runtimeProperty(guarantee), guarantee.runtime);
}

/** For instances that Nest did not construct and so did not inject into. */
export function setRuntime(instance: object, guarantee: Guarantee<unknown>, runtime: unknown): void {
  (instance as Record<symbol, unknown>)[runtimeProperty(guarantee)] = runtime;
}

/** Whether the instance was marked by `withoutGuarantees()` of `@lockstep/testing`. */
export function passesThrough(instance: unknown): boolean {
  if (typeof instance !== 'object' || instance === null) return false;
  return (instance as Record<symbol, unknown>)[PASS_THROUGH] === true;
}

/**
 * The runtime of a guarantee on an instance.
 *
 * @throws ConfigurationError when there is none: the promise cannot be kept, so the method must not run
 */
export function runtimeOf<Runtime>(instance: unknown, guarantee: Guarantee<Runtime>, name: string): Runtime {
  if (typeof instance !== 'object' || instance === null) {
    throw new ConfigurationError(
      `${name} is decorated with @${guarantee.name} and was called without its instance; ` +
        'call it as a method, or bind it.',
    );
  }
  const runtime = (instance as Record<symbol, unknown>)[runtimeProperty(guarantee)];
  if (runtime === undefined) {
    throw new ConfigurationError(
      `${name} is decorated with @${guarantee.name}, but this instance was made by 'new' or by a factory in request ` +
        `or transient scope, so it has no runtime. Let Nest construct the class with ${guarantee.module} imported; ` +
        'in a unit test, mark the instance with withoutGuarantees() from @lockstep/testing.',
    );
  }
  return runtime as Runtime;
}
