import { type AsyncMethod, attachGuarantee, ConfigurationError, checkKnown, type Guarantee } from '@lockstep/core';
import type { OutgoingMessage } from './message.js';
import { checkedTopic } from './message-names.js';
import { checkPromise } from './message-promise.js';
import { OutboxService } from './outbox.service.js';

export interface OutboxDecoratorOptions<Result> extends Pick<OutgoingMessage, 'delay' | 'ordered' | 'callback'> {
  /** Messages of one key and topic keep their order. @default none: they may overtake each other */
  readonly key?: (result: Result) => string;
  /** The message's body; JSON. @default the result itself */
  readonly body?: (result: Result) => unknown;
}

type WithBody<Result> = OutboxDecoratorOptions<Result> & Required<Pick<OutboxDecoratorOptions<Result>, 'body'>>;

/** A method without a result has nothing to say unless `body` says it. */
type SaysSomething<Method extends AsyncMethod> =
  undefined extends Awaited<ReturnType<Method>>
    ? { readonly 'lockstep: this method may give undefined, so @Outbox needs a body': Awaited<ReturnType<Method>> }
    : unknown;

type MethodOf<Result> = (...args: never[]) => Promise<Result>;

const OUTBOX: Guarantee<OutboxService> = {
  name: 'Outbox',
  layer: 'outbox',
  runtime: OutboxService,
  module: 'OutboxModule.forRoot(…)',
};

/**
 * Publishes a message about what the method did, in the transaction that the method runs in: it exists exactly when
 * that transaction commits. Stands inside of `@Transactional()`.
 *
 * The message is what the method returns, or what `body` makes of it; `key` and `body` are given that result. A method
 * that may return `undefined` needs a `body`. The result itself passes unchanged.
 *
 * Breaks when the method does its work outside of that transaction, or calls out before the commit.
 *
 * @throws ConfigurationError on a wrong option, here
 * @throws TransactionRequiredError before the method runs, when there is no transaction
 * @throws MessageInvalidError when the message cannot be published; the transaction is rolled back by its owner
 */
export function Outbox<Result>(
  topic: string,
  options: WithBody<Result>,
): <Method extends MethodOf<Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;
export function Outbox<Result>(
  topic: string,
  options?: OutboxDecoratorOptions<Result>,
): <Method extends MethodOf<Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & SaysSomething<Method>,
) => void;
export function Outbox(topic: string, options: OutboxDecoratorOptions<never> = {}) {
  checkedTopic(topic, '@Outbox topic');
  checkKnown(options, '@Outbox options', ['key', 'body', 'delay', 'ordered', 'callback']);
  const { key, body, ...promise } = options as OutboxDecoratorOptions<unknown>;
  for (const [name, value] of Object.entries({ key, body })) {
    if (value !== undefined && typeof value !== 'function') {
      throw ConfigurationError.option(`@Outbox ${name}`, value, "a function of the method's result");
    }
  }
  checkPromise('@Outbox', promise);
  if (promise.ordered === 'strict' && !key)
    throw ConfigurationError.option('@Outbox key', key, 'a function: messages are strict by their key');
  return (target: object, property: string | symbol, descriptor: PropertyDescriptor): void =>
    attachGuarantee(target, property, descriptor, OUTBOX, async (outbox, call) => {
      const tx = outbox.requireTransaction(`@Outbox on ${call.name}`);
      const result = await call.proceed();
      await outbox.publish(topic, body ? body(result) : result, {
        tx,
        ...promise,
        ...(key ? { key: key(result) } : {}),
      });
      return result;
    });
}
