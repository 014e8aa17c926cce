import {
  type AsyncMethod,
  attachGuarantee,
  ConfigurationError,
  checkKnown,
  type Guarantee,
  type MethodCall,
} from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import type { OutgoingMessage } from '../message.js';
import { checkedTopic } from '../message-names.js';
import { checkPromise } from '../message-promise.js';
import type { Fits, HasCheck, HasCompensator, SaysSomething } from './decorator-types.js';
import { checkName, compensatorName } from './handler-names.js';
import { CHECK_BACK_NAMES, type CheckBack, type CheckBackOptions, resolveCheckBack } from './transactional.options.js';
import { TransactionalMessages } from './transactional-messages.service.js';

type OfArguments<Result> = (...args: never[]) => Result;

export interface TransactionalMessageOptions<
  Key extends OfArguments<string> | undefined,
  Body extends OfArguments<unknown> | undefined,
  Check extends string,
  Compensate extends string,
> extends CheckBackOptions,
    Pick<OutgoingMessage, 'delay' | 'callback'> {
  /** Made of the method's arguments. @default none */
  readonly key?: Key;
  /** Made of the method's arguments, because it is prepared before the method runs; JSON. @default the first argument */
  readonly body?: Body;
  /**
   * Method of the same class, called with `(messageId, body)`, that tells how the work ended: `'commit'`, `'rollback'` or
   * `'unknown'`. For work that is committed elsewhere. Public, and in a provider of default scope.
   * @default none: the method runs in a transaction of its own, which decides
   */
  readonly check?: Check;
  /**
   * Method of the same class that is called with `(body, notice)` when a consumer has given the message up: once, in a
   * transaction of its own. Public, and in a provider of default scope.
   * @default none: an incident
   */
  readonly compensate?: Compensate;
}

/** What {@link TransactionalMessage} notes on a method. */
export interface TransactionalMark {
  readonly check: string | undefined;
  readonly compensate: string | undefined;
}

/** What the decorator runs on. */
@Injectable()
export class TransactionalRuntime {
  constructor(
    @Inject(TransactionalMessages) readonly messages: TransactionalMessages,
    @Inject(Sql) readonly sql: Sql,
  ) {}
}

const MARK = 'lockstep:transactional-message';
const NAMES = ['key', 'body', 'check', 'compensate', 'delay', 'callback', ...CHECK_BACK_NAMES];

const TRANSACTIONAL_MESSAGE: Guarantee<TransactionalRuntime> = {
  name: 'TransactionalMessage',
  layer: 'transactional-message',
  runtime: TransactionalRuntime,
  module: 'OutboxModule.forRoot(…)',
};

/**
 * Prepares a message before the method runs, and publishes it if and only if what the method does is committed, whoever
 * dies in between. Its body is made of the method's arguments. The result, or the error, of the method passes unchanged.
 *
 * Without `check` the method runs in a transaction of its own, which it finds as `sql.current()` and whose commit is the
 * decision. With `check` it works elsewhere (a bank's API): when it resolves the message is committed; a
 * `NotAppliedError` rolls back at once; after any other error the check decides. In both, what is not heard of is checked after `checkAfter`, every `checkEvery`, and parked after `checks` without a decision.
 *
 * Breaks when the work is not all in that one transaction, or the check does not tell the truth.
 *
 * @throws TransactionalMessageMisuseError before the method runs, inside an open transaction
 * @throws MessageAlreadyRolledBackError when the check-back came first: without `check`, the transaction is rolled back
 * @throws ConfigurationError on a wrong option, here; at boot when a named method is missing
 */
export function TransactionalMessage<
  Key extends OfArguments<string> | undefined = undefined,
  Body extends OfArguments<unknown> | undefined = undefined,
  Check extends string = never,
  Compensate extends string = never,
>(topic: string, options: TransactionalMessageOptions<Key, Body, Check, Compensate> = {}) {
  checkedTopic(topic, '@TransactionalMessage topic');
  checkKnown(options, '@TransactionalMessage options', NAMES);
  checkPromise('@TransactionalMessage', options);
  assertFunctions({ key: options.key, body: options.body });
  const checkBack = resolveCheckBack(options, '@TransactionalMessage');
  const mark: TransactionalMark = { check: options.check, compensate: options.compensate };
  return <Target extends object, Method extends AsyncMethod>(
    target: Target & HasCheck<Target, Check, Body, Method> & HasCompensator<Target, Compensate, Body, Method>,
    property: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> & Fits<Key, Method> & Fits<Body, Method> & SaysSomething<Body, Method>,
  ): void => {
    attachGuarantee(target, property, descriptor, TRANSACTIONAL_MESSAGE, (runtime, call) =>
      runPrepared(runtime, call, topic, options, checkBack),
    );
    const wrapper: unknown = descriptor.value;
    Reflect.defineMetadata(MARK, mark, wrapper as object);
  };
}

/** What stands on a method; undefined for one without the decorator. */
export function transactionalMarkOf(method: object): TransactionalMark | undefined {
  return Reflect.getOwnMetadata(MARK, method) as TransactionalMark | undefined;
}

type AnyOptions = TransactionalMessageOptions<
  OfArguments<string> | undefined,
  OfArguments<unknown> | undefined,
  string,
  string
>;

function runPrepared(
  { messages, sql }: TransactionalRuntime,
  { instance, args, proceed }: MethodCall,
  topic: string,
  { key, body, check, compensate, delay, callback }: AnyOptions,
  checkBack: CheckBack,
): Promise<unknown> {
  const given = args as never[];
  const init = {
    topic,
    body: body ? body(...given) : args[0],
    ...(key ? { key: key(...given) } : {}),
    ...(delay === undefined ? {} : { delay }),
    ...(callback === undefined ? {} : { callback }),
    ...(check === undefined ? {} : { check: checkName(instance, check) }),
    ...(compensate === undefined ? {} : { compensator: compensatorName(instance, compensate) }),
  };
  if (check !== undefined) return messages.run(init, () => proceed(), { checkBack });
  const joined = { propagation: 'requires-new' } as const;
  return messages.run(
    init,
    (half) =>
      sql.transaction(async (tx) => {
        await half.join(tx);
        return proceed();
      }, joined),
    { checkBack },
  );
}

function assertFunctions(options: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || typeof value === 'function') continue;
    throw ConfigurationError.option(`@TransactionalMessage ${name}`, value, "a function of the method's arguments");
  }
}
