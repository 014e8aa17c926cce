import { ConfigurationError, type MethodCall } from '@lockstep/core';
import { Execution } from '../execution.js';
import { OperationInProgressError, OperationInvalidError } from '../idempotency.errors.js';
import type { Operation } from '../operation.js';
import type { OperationRunner, Running } from '../operation-runner.js';
import { scopeOfPrincipal } from '../principal-scope.js';
import { resolvedScope } from '../scope.js';
import { payloadOfCall } from './call-payload.js';
import { whileInProgress } from './queued-job.js';
import { withoutStream } from './streams.js';

type OfCall<Result> = (...args: readonly unknown[]) => Result;

/** What `@Idempotent({ key })` says about a method, checked. */
export interface IdempotentMethod extends Running {
  readonly key: OfCall<unknown>;
  readonly scope: OfCall<unknown> | 'global' | undefined;
  readonly payload: OfCall<unknown> | undefined;
  /** Undefined: see {@link operationOfMethod}. */
  readonly operation: string | undefined;
}

/** Where a method was decorated. */
export interface MethodPlace {
  readonly prototype: object;
  readonly property: string | symbol;
}

/** Runs a call of a decorated method once per key. */
export async function runMethod(
  runner: OperationRunner,
  method: IdempotentMethod,
  place: MethodPlace,
  call: MethodCall,
): Promise<unknown> {
  const operation = operationOfCall(method, place, call);
  let isEntered = false;
  const work = async (): Promise<unknown> => {
    isEntered = true;
    Execution.current()?.enter();
    return withoutStream(await call.proceed(), call.name, '@Idempotent');
  };
  try {
    return await runner.run(operation, method, work);
  } catch (error) {
    // What the method itself throws passes by, also where it comes from another operation.
    throw isEntered ? error : await refusalOf(error, call);
  }
}

async function refusalOf(error: unknown, { args, name }: MethodCall): Promise<unknown> {
  if (error instanceof OperationInProgressError) return whileInProgress(error, args);
  return error instanceof OperationInvalidError && error.part === 'payload' ? payloadAdvice(error, name) : error;
}

function operationOfCall(
  method: IdempotentMethod,
  place: MethodPlace,
  { args, instance, name }: MethodCall,
): Operation {
  return {
    operation: method.operation ?? operationOfMethod(place, Object.getPrototypeOf(instance) as object),
    scope: scopeOfCall(method, args, name),
    key: method.key(...args) as string,
    payload: method.payload ? method.payload(...args) : payloadOfCall(args),
  };
}

/**
 * `Class.method`, of the class of the instance: two subclasses that inherit a method do not share its keys. A method that
 * a subclass overrides, and calls by `super`, goes by the class that has it.
 */
export function operationOfMethod({ prototype, property }: MethodPlace, from: object): string {
  let holder: object | null = from;
  while (holder && !Object.hasOwn(holder, property)) holder = Object.getPrototypeOf(holder) as object | null;
  const owner = holder === prototype ? from : prototype;
  return `${owner.constructor.name}.${String(property)}`;
}

function scopeOfCall({ scope }: IdempotentMethod, args: readonly unknown[], name: string): string {
  if (scope === 'global') return 'global';
  if (scope) return resolvedScope(`@Idempotent scope of ${name}`, scope(...args));
  const principal = scopeOfPrincipal();
  if (principal !== undefined) return resolvedScope('principal', principal);
  throw new ConfigurationError(
    `${name} is decorated with @Idempotent, but nobody knows whose key it is: there is no principal here. Give ` +
      "@Idempotent a scope: a function of the method's arguments, or 'global' on purpose.",
  );
}

function payloadAdvice({ cause }: OperationInvalidError, name: string): OperationInvalidError {
  return new OperationInvalidError(
    'payload',
    `is no plain data, so that no other call could be told from it: give the @Idempotent of ${name} a payload, a ` +
      "function of the method's arguments",
    cause,
  );
}
