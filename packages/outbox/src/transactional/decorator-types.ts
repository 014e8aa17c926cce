import type { AsyncMethod, FitsMethod } from '@lockstep/core';
import type { FailureNotice } from '../failure-notice.js';
import type { CheckAnswer } from './prepared-message-store.js';

/** A function of the arguments that is left out fits every method. */
export type Fits<Fn, Method extends AsyncMethod> = [Fn] extends [undefined] ? unknown : FitsMethod<Fn, Method>;

/** What the method's message says: what `body` gives, else the first argument. */
export type BodyOf<Body, Method extends AsyncMethod> = Body extends (...args: never[]) => infer Result
  ? Result
  : Parameters<Method>[0];

/** A method without arguments has nothing to say unless `body` says it. */
export type SaysSomething<Body, Method extends AsyncMethod> = [Body] extends [undefined]
  ? undefined extends Parameters<Method>[0]
    ? { readonly 'lockstep: this method may have no first argument, so @TransactionalMessage needs a body': Method }
    : unknown
  : unknown;

export type HasCheck<Target, Check extends string, Body, Method extends AsyncMethod> = HasMethod<
  Target,
  Check,
  (messageId: string, body: BodyOf<Body, Method>) => Promise<CheckAnswer>
>;

export type HasCompensator<Target, Compensate extends string, Body, Method extends AsyncMethod> = HasMethod<
  Target,
  Compensate,
  (body: BodyOf<Body, Method>, notice: FailureNotice) => Promise<unknown>
>;

type HasMethod<Target, Name extends string, Wanted> = [Name] extends [never]
  ? unknown
  : Name extends keyof Target
    ? Target[Name] extends Wanted
      ? unknown
      : { readonly 'lockstep: the method that is named is called like this': Wanted }
    : { readonly 'lockstep: the class has no public method of this name': Name };
