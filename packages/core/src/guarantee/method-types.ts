import type { Observable } from 'rxjs';

/** A method that every guarantee can stand around: its result must be able to wait. */
export type AsyncMethod = (...args: never[]) => Promise<unknown>;

export type ObservableMethod = (...args: never[]) => Observable<unknown>;

/** A method whose call lasts until its stream ends; for guarantees that attach with an `open`. */
export type StreamMethod =
  | AsyncMethod
  | ObservableMethod
  | ((...args: never[]) => AsyncGenerator<unknown, unknown, never>);

type AnyMethod = (...args: never[]) => unknown;

/**
 * `unknown` where a function of the arguments (a key, a scope) accepts what the method is called with, else a type
 * that no descriptor has, so that the compiler refuses the decorator and names the reason.
 */
export type FitsMethod<Fn, Method extends AnyMethod> = Fn extends (...args: Parameters<Method>) => unknown
  ? unknown
  : { readonly 'lockstep: this function does not accept the arguments of the decorated method': Parameters<Method> };

/** The decorator of a guarantee whose options hold `Fn`, a function of the method's arguments. */
export type GuaranteeDecorator<Fn = () => unknown, Methods extends AnyMethod = AsyncMethod> = <Method extends Methods>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & FitsMethod<Fn, Method>,
) => void;
