import { ConfigurationError, injectHidden } from '@lockstep/core';
import type { Message } from '../message.js';
import { checkedTopic } from '../message-names.js';
import { OutboxService } from '../outbox.service.js';
import { BODY_PARAM, MESSAGE_ARGS, MESSAGE_PARAM } from './message-params.js';
import {
  type OnMessageBatchOptions,
  type OnMessageOptions,
  type ResolvedOnMessageOptions,
  resolveOnMessageOptions,
} from './on-message.options.js';

/** What {@link OnMessage} notes on a method. */
export interface HandlerMark {
  readonly topic: string;
  readonly options: ResolvedOnMessageOptions;
}

const MARKS = 'lockstep:on-message';
/** Nobody reads it: without the module nobody would call the handler, so the application must not start. */
const NEEDS_MODULE = Symbol('@OnMessage needs OutboxModule.forRoot(…)');

type HandlerMethod = (...args: never[]) => Promise<unknown>;

/** The body's type is the handler's claim; a pipe that validates it is the handler's choice. */
type TakesMessages<Method> = Method extends (body: infer _Body, message: Message) => unknown
  ? unknown
  : { readonly 'lockstep: a handler of messages is called with (body, message)': Method };

/** What a handler of batches may give: a result for each message, or nothing. */
type BatchResult = readonly unknown[] | undefined;
// biome-ignore lint/suspicious/noConfusingVoidType: a method that is declared to give nothing gives void
type BatchMethod = (...args: never[]) => Promise<BatchResult | void>;

type TakesBatches<Method> = Method extends (bodies: infer Bodies, messages: Message[]) => unknown
  ? IsList<Bodies> extends true
    ? unknown
    : { readonly 'lockstep: with batch, the first argument is the list of bodies': Bodies }
  : { readonly 'lockstep: a handler of batches is called with (bodies, messages)': Method };

/** A method that takes no bodies leaves them unknown. */
type IsList<Bodies> = unknown extends Bodies ? true : Bodies extends readonly unknown[] ? true : false;

/**
 * Handles the messages of a topic: the method runs with `(body, message)` in a transaction of its own, which also holds
 * the inbox row of the message, so that what it does in that transaction takes effect exactly once however often the
 * message is delivered. It runs with the guards, pipes, interceptors and filters of Nest (context type
 * `lockstep-message`); a filter sees the error and may throw another, but what it returns does not make the message done.
 *
 * A rejection rolls back and brings the message back later, at most `attempts` times; `MessageRefusedError` gives it up
 * at once. Errors that say that a server was down, or somebody else busy (a deadlock, too), do not count as attempts.
 *
 * What it returns is published to the topic that the message names as `callback`, in the same transaction; where the
 * message is given up, that is. Without a callback, it is ignored.
 *
 * With `batch: true` the method is called with `(bodies, messages)`, many at a time, in one transaction; with `callback`,
 * it returns a list with a result for each, or nothing. When it rejects, it is called again with each message on its own,
 * so that one bad message dies alone: handlers run twice then, and what they did first is rolled back. A message that
 * comes again is on its own from the start. Pipes see one body at a time, as they do without `batch`; `ValidationPipe`
 * cannot tell the type of the elements of an array, so give it one: `new ValidationPipe({ expectedType: OrderPlaced })`.
 *
 * Breaks for effects outside of the transaction (an e-mail, a call to a partner): they may be repeated.
 *
 * @throws ConfigurationError on a wrong option, here; at boot when another handler has the same topic and consumer.
 * A class that Nest constructs does not start without `OutboxModule`
 */
export function OnMessage(
  topic: string,
  options: OnMessageBatchOptions,
): <Method extends BatchMethod>(
  target: object,
  property: string,
  descriptor: TypedPropertyDescriptor<Method> & TakesBatches<Method>,
) => void;
export function OnMessage(
  topic: string,
  options: OnMessageOptions,
): <Method extends HandlerMethod>(
  target: object,
  property: string,
  descriptor: TypedPropertyDescriptor<Method> & TakesMessages<Method>,
) => void;
export function OnMessage(topic: string, options: OnMessageOptions | OnMessageBatchOptions) {
  const mark: HandlerMark = {
    topic: checkedTopic(topic, '@OnMessage topic'),
    options: resolveOnMessageOptions(options),
  };
  return (target: object, property: string, descriptor: PropertyDescriptor): void => {
    const method: unknown = descriptor?.value;
    if (typeof target === 'function' || typeof method !== 'function') {
      throw new ConfigurationError(`@OnMessage belongs on a method of an instance; ${property} is none.`);
    }
    Reflect.defineMetadata(MARKS, [...handlerMarksOf(method), mark], method);
    Reflect.defineMetadata(
      MESSAGE_ARGS,
      { [`${BODY_PARAM}:0`]: { index: 0, pipes: [] }, [`${MESSAGE_PARAM}:1`]: { index: 1, pipes: [] } },
      target.constructor,
      property,
    );
    injectHidden(target, NEEDS_MODULE, OutboxService);
  };
}

export function handlerMarksOf(method: object): readonly HandlerMark[] {
  return (Reflect.getOwnMetadata(MARKS, method) as HandlerMark[] | undefined) ?? [];
}
