import { isObservable } from 'rxjs';
import { ConfigurationError } from '../errors/configuration.error.js';

/** What a call of a method gives back. */
export type ReturnedForm = 'promise' | 'observable' | 'generator';

const ASYNC_GENERATOR_FUNCTION: unknown = Object.getPrototypeOf(async function* () {});

/** Whether it is written as `async *`. */
export function returnsGenerator(method: object): boolean {
  return Object.getPrototypeOf(method) === ASYNC_GENERATOR_FUNCTION;
}

/**
 * What the method returns, as far as it is known before it is called: an async generator function says so itself, an
 * Observable stands in the metadata that TypeScript emits, if it does.
 */
export function returnedForm(target: object, property: string | symbol, method: object): ReturnedForm {
  if (returnsGenerator(method)) return 'generator';
  const type: unknown = Reflect.getOwnMetadata('design:returntype', target, property);
  return typeof type === 'function' && isObservableLike(type.prototype) ? 'observable' : 'promise';
}

/**
 * A stream that the wrapper took for a promise would run after the promise is kept.
 *
 * @throws ConfigurationError when the result is one, saying what to write
 */
export function assertNoStream(result: unknown, name: string, decorator: string): void {
  if (typeof result !== 'object' || result === null) return;
  if (isObservable(result)) {
    throw new ConfigurationError(
      `${name} is decorated with @${decorator} and gave an Observable, which nothing had said. Return it directly, with ` +
        `returns: 'observable' in the options of @${decorator}, or with Observable as the declared type of the result, ` +
        'imported as a value, in a build that emits decorator metadata.',
    );
  }
  if (Symbol.asyncIterator in result && 'next' in result && typeof result.next === 'function') {
    throw new ConfigurationError(
      `${name} is decorated with @${decorator} and gave an async iterator; write the method itself as 'async *'.`,
    );
  }
}

function isObservableLike(prototype: unknown): boolean {
  const { subscribe, pipe } = (prototype ?? {}) as { subscribe?: unknown; pipe?: unknown };
  return typeof subscribe === 'function' && typeof pipe === 'function';
}
