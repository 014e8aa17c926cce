import { attachGuarantee, ConfigurationError, demandGuarantee, type Guarantee } from '@lockstep/core';
import type { EncodedResult, IdempotentDecorator, IdempotentMethodOptions } from '../idempotent.decorator.js';
import { OperationRunner } from '../operation-runner.js';
import { resolveRunning } from '../resolve-policy.js';
import { type IdempotentMethod, type MethodPlace, runMethod } from './idempotent-method.js';
import type { ResultCodec } from './method-types.js';
import { assertNoStreamMethod } from './streams.js';

const METHOD = 'lockstep:idempotent-method';
const LONGEST_OPERATION = 200;
/** A name that stands in log lines and metrics. */
const CONTROL = /\p{Cc}/u;

const IN_LEASE: Guarantee<OperationRunner> = {
  name: 'Idempotent',
  layer: 'idempotency',
  runtime: OperationRunner,
  module: 'IdempotencyModule.forRoot(…)',
};

/** The transaction itself, which ends when the method has: a lock belongs around it. */
const IN_TRANSACTION: Guarantee<OperationRunner> = { ...IN_LEASE, layer: 'transactional-idempotency' };

/** A decorated method, as its wrapper carries it. */
export interface KeyedMethod extends MethodPlace {
  readonly operation: string | undefined;
}

type MethodOptions = IdempotentMethodOptions & Partial<EncodedResult<unknown>>;

/** `@Idempotent({ key })`. @throws ConfigurationError naming the option and its value */
export function onMethod(options: MethodOptions): IdempotentDecorator {
  const method = resolveMethod(options);
  const guarantee = method.mode === 'transactional' ? IN_TRANSACTION : IN_LEASE;
  return (prototype, property, descriptor) => {
    const place = { prototype, property };
    assertNoStreamMethod(place, descriptor?.value, '@Idempotent({ key })');
    attachGuarantee(prototype, property, descriptor, guarantee, (runner, call) =>
      runMethod(runner, method, place, call),
    );
    recordOperation(descriptor.value as object, { ...place, operation: method.operation });
    const name = `${prototype.constructor.name}.${String(property)}`;
    const verify = (runner: unknown): void => (runner as OperationRunner).assertPossible(name, method);
    demandGuarantee(prototype, property, { by: '@Idempotent', guarantee, verify });
  };
}

/** Lets the boot see to it that no other method has the operation. */
export function recordOperation(wrapper: object, method: KeyedMethod): void {
  Reflect.defineMetadata(METHOD, Object.freeze(method), wrapper);
}

export function keyedMethodOf(method: object): KeyedMethod | undefined {
  return Reflect.getOwnMetadata(METHOD, method) as KeyedMethod | undefined;
}

function resolveMethod(options: MethodOptions): IdempotentMethod {
  const { key, scope, payload, operation, codec } = options;
  checkFunction('key', key);
  if (scope !== undefined && scope !== 'global') checkFunction('scope', scope, ", or 'global' on purpose");
  if (payload !== undefined) checkFunction('payload', payload);
  if (codec !== undefined) checkCodec(codec);
  return Object.freeze({
    key,
    scope,
    payload,
    operation: checkedOperation(operation),
    codec,
    ...resolveRunning(options),
  }) as IdempotentMethod;
}

function checkFunction(option: string, value: unknown, or = ''): void {
  if (typeof value === 'function') return;
  throw ConfigurationError.option(`@Idempotent ${option}`, value, `a function of the method's arguments${or}`);
}

function checkCodec(codec: ResultCodec<unknown>): void {
  const { encode, decode } = (codec ?? {}) as Partial<ResultCodec<unknown>>;
  if (typeof encode === 'function' && typeof decode === 'function') return;
  throw ConfigurationError.option('@Idempotent codec', codec, 'an object with encode() and decode()');
}

function checkedOperation(operation: unknown): string | undefined {
  if (operation === undefined) return undefined;
  const isName = typeof operation === 'string' && operation !== '' && !CONTROL.test(operation);
  if (isName && operation.length <= LONGEST_OPERATION) return operation;
  throw ConfigurationError.option('@Idempotent operation', operation, `a name of 1 to ${LONGEST_OPERATION} characters`);
}
