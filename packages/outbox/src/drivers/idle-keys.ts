import type { MessageRoute } from '../message-transport.js';
import { NO_CONSUMER } from '../outbox-store.js';
import type { Sequence } from '../sequence.js';

/** Counters that a sweep looks at, idle or not. */
export const LOOK_AT = 10_000;
/** Counters that a sweep touches at most. */
const BATCH = 1_000;

/** A counter that was looked at. */
export interface LookedAt extends Sequence {
  readonly topic: string;
  readonly key: string;
  readonly isIdle: boolean;
  /** Who has strict messages of the key that are not acknowledged; {@link NO_CONSUMER} for those not routed yet. */
  readonly waiting: readonly string[];
  /** Who is told already to begin with the next message of the key. */
  readonly told: readonly string[];
}

/** What becomes of an idle key: its counter is forgotten, or some consumers are told to begin with its next message. */
export interface IdleKeyStep<Key extends LookedAt = LookedAt> {
  readonly key: Key;
  readonly told: readonly string[] | undefined;
}

/**
 * While a key has messages, its counter cannot be forgotten; but a consumer that has none of them forgets its position,
 * and would wait for ever for what it had long before. So it is told to begin with the next message, as if it had subscribed
 * after the last one. To a consumer that still knows its position this says nothing new. Who is told must not be given
 * anything earlier any more: there is nothing of his, and nothing that may become his.
 */
function stepOf<Key extends LookedAt>(key: Key, consumers: readonly string[]): IdleKeyStep<Key> | undefined {
  if (!key.isIdle || key.waiting.includes(NO_CONSUMER)) return undefined;
  if (key.waiting.length === 0) return { key, told: undefined };
  const told = consumers.filter((one) => !key.waiting.includes(one) && !key.told.includes(one));
  return told.length > 0 ? { key, told } : undefined;
}

/** @param looked in the order of the walk; gives as many steps as a sweep takes, and where the next one goes on */
export function stepsOf<Key extends LookedAt>(
  looked: readonly Key[],
  routes: readonly MessageRoute[],
): { readonly steps: readonly IdleKeyStep<Key>[]; readonly last: Key | undefined } {
  const steps: IdleKeyStep<Key>[] = [];
  const consumers = consumersByTopic(routes);
  for (const key of looked) {
    const step = stepOf(key, consumers.get(key.topic) ?? []);
    if (step) steps.push(step);
    if (steps.length === BATCH) return { steps, last: key };
  }
  return { steps, last: looked.length < LOOK_AT ? undefined : looked.at(-1) };
}

function consumersByTopic(routes: readonly MessageRoute[]): ReadonlyMap<string, readonly string[]> {
  const consumers = new Map<string, string[]>();
  for (const { topic, consumer } of routes) consumers.set(topic, [...(consumers.get(topic) ?? []), consumer]);
  return consumers;
}
