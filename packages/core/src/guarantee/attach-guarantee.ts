import 'reflect-metadata';
import { ConfigurationError } from '../errors/configuration.error.js';
import { type Around, type CallScope, type Guarantee, type Keeping, recordGuarantee } from './guarantee.js';
import { GuardedGenerator } from './guarded-generator.js';
import { guardedObservable, type StreamSource } from './guarded-observable.js';
import { assertNoStream, returnedForm, returnsGenerator } from './returned-form.js';
import { injectRuntime, passesThrough, runtimeOf } from './runtime-property.js';

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Puts a guarantee around a method: replaces it by a wrapper that finds the runtime on the instance it is called on,
 * and lets Nest inject that runtime. The wrapper keeps the method's name, length, own properties and metadata, so that
 * it does not matter on which side of Nest's decorators the guarantee stands. What the method throws reaches the
 * caller as it is, though always as a rejection.
 *
 * @param keep a function for methods that return a promise; with an `open` beside it also for those that return an
 * Observable, known by `design:returntype` or `returns`, and for async generator methods. Their wrappers return the
 * same: a cold Observable, a generator that has not started
 * @throws ConfigurationError when it is put on anything but an instance method
 */
export function attachGuarantee<Runtime>(
  target: object,
  property: string | symbol,
  descriptor: PropertyDescriptor,
  guarantee: Guarantee<Runtime>,
  keep: Around<Runtime> | Keeping<Runtime>,
): void {
  const isStatic = typeof target === 'function';
  const owner = isStatic ? target.name : target.constructor.name;
  // A class brings no property, a field no descriptor.
  const name = property === undefined ? `class ${owner}` : `${owner}.${String(property)}`;
  const method: unknown = descriptor?.value;
  if (isStatic || typeof method !== 'function') {
    throw new ConfigurationError(`@${guarantee.name} belongs on a method of an instance; ${name} is none.`);
  }
  const guarded = { method: method as Method, name, guarantee };
  const wrapper =
    typeof keep === 'function' ? wrap(guarded, keep) : wrapForm(guarded, keep, returnedForm(target, property, method));
  copyIdentity(method, wrapper);
  recordGuarantee(wrapper, guarantee);
  descriptor.value = wrapper;
  injectRuntime(target, guarantee);
}

interface Guarded<Runtime> {
  readonly method: Method;
  readonly name: string;
  readonly guarantee: Guarantee<Runtime>;
}

function wrap<Runtime>({ method, name, guarantee }: Guarded<Runtime>, around: Around<Runtime>): Method {
  return async function (this: unknown, ...args: unknown[]): Promise<unknown> {
    if (passesThrough(this)) return method.apply(this, args);
    const runtime = runtimeOf(this, guarantee, name);
    const proceed = async (given: readonly unknown[] = args): Promise<unknown> => method.apply(this, [...given]);
    return around(runtime, { instance: this as object, name, args, proceed });
  };
}

function wrapForm<Runtime>(
  guarded: Guarded<Runtime>,
  keep: Keeping<Runtime>,
  form: ReturnType<typeof returnedForm>,
): Method {
  if (form === 'generator') return wrapStream(guarded, keep, (source) => new GuardedGenerator(source));
  if (form === 'observable' || keep.returns) return wrapStream(guarded, keep, guardedObservable);
  const { method, name, guarantee } = guarded;
  const checked: Method = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
    const result = await method.apply(this, args);
    assertNoStream(result, name, guarantee.name);
    return result;
  };
  return wrap({ ...guarded, method: checked }, keep.around);
}

function wrapStream<Runtime>(
  { method, name, guarantee }: Guarded<Runtime>,
  keep: Keeping<Runtime>,
  streamOf: (source: StreamSource) => object,
): Method {
  return function (this: unknown, ...args: unknown[]): unknown {
    if (passesThrough(this)) return method.apply(this, args);
    return streamOf({
      name,
      open: async (signal): Promise<CallScope> =>
        keep.open(runtimeOf(this, guarantee, name), { instance: this as object, name, args, signal }),
      call: (scope) => method.apply(this, [...(scope.args ?? args)]),
    });
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
  // What kind of function it is shows to others too, and to a second guarantee around the first.
  if (returnsGenerator(from)) Object.setPrototypeOf(to, Object.getPrototypeOf(from));
}
