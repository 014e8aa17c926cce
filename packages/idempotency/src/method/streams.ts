import { ConfigurationError } from '@lockstep/core';
import { isObservable } from 'rxjs';

/**
 * Refuses a method that gives a stream, as far as that is known before it is called: what a program without types would
 * learn at the first call.
 *
 * @throws ConfigurationError
 */
export function assertNoStreamMethod(
  { prototype, property }: { readonly prototype: object; readonly property: string | symbol },
  method: unknown,
  decorator: string,
): void {
  const isGenerator = /Generator/.test(Object.prototype.toString.call(method));
  const type: unknown = Reflect.getOwnMetadata('design:returntype', prototype, property);
  if (!isGenerator && !isObservableClass(type)) return;
  throw new ConfigurationError(
    `${prototype.constructor.name}.${String(property)} is decorated with ${decorator}, but it gives a stream, which ` +
      'cannot be told again. Return a promise.',
  );
}

/** What comes after the result is there would happen outside of the operation. @throws ConfigurationError */
export function withoutStream(result: unknown, name: string, decorator: string): unknown {
  if (typeof result !== 'object' || result === null) return result;
  const isIterator = Symbol.asyncIterator in result && 'next' in result;
  if (!isObservable(result) && !isIterator) return result;
  throw new ConfigurationError(
    `${name} is decorated with ${decorator} and gave a stream, which cannot be told again. Return a promise of its ` +
      'values, such as lastValueFrom() makes.',
  );
}

function isObservableClass(type: unknown): boolean {
  const prototype: unknown = typeof type === 'function' ? type.prototype : undefined;
  return typeof prototype === 'object' && prototype !== null && 'subscribe' in prototype && 'pipe' in prototype;
}
