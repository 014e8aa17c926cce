import type { Message } from '../message.js';
import { SEQUENCE_HEADER } from '../message-headers.js';
import { parseSequence } from '../sequence.js';
import { laneOf } from './turn.js';

type Keyed = Pick<Message, 'topic' | 'key' | 'headers'>;

interface Ranked<Item> {
  readonly item: Item;
  readonly lane: string;
  readonly generation: number;
  readonly n: number;
}

/**
 * In the order in which turns are taken: what is not strict first, then key by key, each in its sequence. Two
 * transactions that take the turns of the same keys never wait for each other in a circle.
 */
export function byTurn<Item extends Keyed>(messages: readonly Item[]): readonly Item[] {
  if (!messages.some(isStrict)) return messages;
  const plain = messages.filter((message) => rank(message, message) === undefined);
  const strict = messages.flatMap((message) => rank(message, message) ?? []);
  return [
    ...plain,
    ...strict.sort((a, b) => (a.lane === b.lane ? inSequence(a, b) : a.lane < b.lane ? -1 : 1)).map(itemOf),
  ];
}

/**
 * In the order given, but for strict ones of a key, which stand in each other's places so that they are in sequence. For
 * drivers that hold messages back behind others of their key: a strict one waits for its predecessor, wherever that is.
 */
export function inTurnOrder<Item>(items: readonly Item[], messageOf: (item: Item) => Keyed): readonly Item[] {
  if (!items.some((item) => isStrict(messageOf(item)))) return items;
  const ranks = items.map((item) => rank(item, messageOf(item)));
  const lanes = new Map<string, Ranked<Item>[]>();
  for (const ranked of ranks) {
    if (!ranked) continue;
    const lane = lanes.get(ranked.lane);
    if (lane) lane.push(ranked);
    else lanes.set(ranked.lane, [ranked]);
  }
  const next = new Map([...lanes].map(([lane, list]) => [lane, list.sort(inSequence).values()]));
  return items.map((item, index) => next.get(ranks[index]?.lane ?? '')?.next().value?.item ?? item);
}

function isStrict({ headers }: Keyed): boolean {
  return headers[SEQUENCE_HEADER] !== undefined;
}

function rank<Item>(item: Item, { topic, key, headers }: Keyed): Ranked<Item> | undefined {
  const sequence = parseSequence(headers[SEQUENCE_HEADER]);
  return sequence && key !== undefined ? { item, lane: laneOf({ topic, key }), ...sequence } : undefined;
}

function inSequence(a: Ranked<unknown>, b: Ranked<unknown>): number {
  return a.generation - b.generation || a.n - b.n;
}

function itemOf<Item>({ item }: Ranked<Item>): Item {
  return item;
}
