/** A method that a guarantee can stand around: its result must be able to wait. */
export type AsyncMethod = (...args: never[]) => Promise<unknown>;

/**
 * `unknown` where a function of the arguments (a key, a scope) accepts what the method is called with, else a type
 * that no descriptor has, so that the compiler refuses the decorator and names the reason.
 */
export type FitsMethod<Fn, Method extends AsyncMethod> = Fn extends (...args: Parameters<Method>) => unknown
  ? unknown
  : { readonly 'lockstep: this function does not accept the arguments of the decorated method': Parameters<Method> };

/** The decorator of a guarantee whose options hold `Fn`, a function of the method's arguments. */
export type GuaranteeDecorator<Fn = () => unknown> = <Method extends AsyncMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & FitsMethod<Fn, Method>,
) => void;
