import { ConfigurationError, durationMs } from '@lockstep/core';
import type { OutgoingMessage } from './message.js';
import { checkedTopic, isName, OWN_TOPICS } from './message-names.js';
import { MessageInvalidError } from './outbox.errors.js';
import type { ResolvedOutboxOptions } from './outbox.options.js';
import type { OutboxRecord } from './outbox-store.js';

const DELAYS = { minMs: 0, maxMs: 366 * 86_400_000 };

/** What is promised about a message: how long it is kept, in which order, not before when. */
export type MessagePromise = Pick<OutboxRecord, 'awaitsAck' | 'delayMs' | 'strict'>;

/** @throws MessageInvalidError when what the message asks for does not go together */
export function promiseOf(message: OutgoingMessage, options: ResolvedOutboxOptions): MessagePromise {
  const { topic, key, ordered, callback } = message;
  const awaitsAck = (options.topicDurability.get(topic) ?? options.durability) === 'until-ack';
  const strict = ordered === undefined ? options.strictTopics.has(topic) && key !== undefined : ordered === 'strict';
  const delayMs = delayOf(message);
  const fault = orderingFault(message, { awaitsAck, delayMs, strict });
  if (fault !== undefined) throw new MessageInvalidError(topic, fault);
  if (callback !== undefined && (!isName(callback) || callback.startsWith(OWN_TOPICS))) {
    throw new MessageInvalidError(topic, 'its callback is no topic of an application');
  }
  return { awaitsAck, delayMs, strict };
}

/** What a decorator asks for in each of its messages. @throws ConfigurationError naming the option and its value */
export function checkPromise(
  decorator: string,
  { delay, ordered, callback }: Pick<OutgoingMessage, 'delay' | 'ordered' | 'callback'>,
): void {
  const delayMs = delay === undefined ? 0 : durationMs(delay, `${decorator} delay`, DELAYS);
  if (delayMs > 0 && ordered === 'strict') {
    const expected = 'none: all later ones of the key would wait for a strict message with a delay';
    throw ConfigurationError.option(`${decorator} delay`, delay, expected);
  }
  if (ordered !== undefined && ordered !== 'strict' && ordered !== 'best-effort') {
    throw ConfigurationError.option(`${decorator} ordered`, ordered, "'best-effort' or 'strict'");
  }
  if (callback !== undefined) checkedTopic(callback, `${decorator} callback`);
}

function orderingFault({ key, ordered }: OutgoingMessage, promise: MessagePromise): string | undefined {
  if (ordered !== undefined && ordered !== 'strict' && ordered !== 'best-effort') {
    return "ordered is neither 'strict' nor 'best-effort'";
  }
  if (!promise.strict) return undefined;
  if (key === undefined) return 'a strict message needs a key';
  if (!promise.awaitsAck) return "a strict message needs durability 'until-ack': a lost one would hold up its key";
  if (promise.delayMs > 0) return 'a strict message cannot have a delay: all later ones of its key would wait for it';
  return undefined;
}

function delayOf({ topic, delay }: OutgoingMessage): number {
  if (delay === undefined) return 0;
  try {
    return durationMs(delay, 'delay', DELAYS);
  } catch (cause) {
    throw new MessageInvalidError(topic, `its delay is no duration up to a year`, cause);
  }
}
