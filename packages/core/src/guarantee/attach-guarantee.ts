import 'reflect-metadata';
import { ConfigurationError } from '../errors/configuration.error.js';
import { type Around, type Guarantee, recordGuarantee } from './guarantee.js';
import { injectRuntime, runtimeOf } from './runtime-property.js';

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Puts a guarantee around a method: replaces it by a wrapper that finds the runtime on the instance it is called on,
 * and lets Nest inject that runtime. The wrapper keeps the method's name, length, own properties and metadata, so that
 * it does not matter on which side of Nest's decorators the guarantee stands. What the method throws reaches the
 * caller as it is, though always as a rejection.
 *
 * @throws ConfigurationError when it is put on anything but an instance method
 */
export function attachGuarantee<Runtime>(
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor,
  guarantee: Guarantee<Runtime>,
  around: Around<Runtime>,
): void {
  const isStatic = typeof target === 'function';
  const name = `${isStatic ? target.name : target.constructor.name}.${String(property)}`;
  // A field brings no descriptor at all.
  const method: unknown = descriptor?.value;
  if (isStatic || typeof method !== 'function') {
    throw new ConfigurationError(`@${guarantee.name} belongs on a method of an instance; ${name} is none.`);
  }
  const wrapper = wrap(method as Method, name, guarantee, around);
  copyIdentity(method, wrapper);
  recordGuarantee(wrapper, guarantee);
  descriptor.value = wrapper;
  injectRuntime(target, guarantee);
}

function wrap<Runtime>(method: Method, name: string, guarantee: Guarantee<Runtime>, around: Around<Runtime>): Method {
  return async function (this: unknown, ...args: unknown[]): Promise<unknown> {
    const runtime = runtimeOf(this, guarantee, name);
    if (runtime === undefined) return method.apply(this, args);
    return around(runtime, { instance: this as object, name, args, proceed: async () => method.apply(this, args) });
  };
}

function copyIdentity(from: object, to: object): void {
  for (const key of Reflect.ownKeys(from)) {
    const own = Object.getOwnPropertyDescriptor(from, key);
    if (own && key !== 'prototype') Object.defineProperty(to, key, { ...own, configurable: true });
  }
  for (const key of Reflect.getOwnMetadataKeys(from)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, from), to);
  }
}
