import type { Message } from '../message.js';
import { SEQUENCE_HEADER, SEQUENCE_START_HEADER, SKIP_HEADER } from '../message-headers.js';
import { MessageRefusedError } from '../outbox.errors.js';
import { parseSequence, type Sequence } from '../sequence.js';

/** Where a strict message stands among those of its topic and key. */
export interface Place {
  readonly topic: string;
  readonly key: string;
  readonly sequence: Sequence;
  /** The last one of the sequence's generation that this consumer is not given, 0 when it is given all. */
  readonly before: number;
  readonly isSkipped: boolean;
}

/** Who comes when: `restarted` is the first of a later generation, and its turn; `past` ones had theirs. */
export type Turn = 'next' | 'restarted' | 'early' | 'past';

/**
 * Undefined for a message that is not strict.
 *
 * @throws MessageRefusedError when its sequence cannot be read: in which turn it would take effect, nobody knows
 */
export function placeOf({ topic, key, headers }: Pick<Message, 'topic' | 'key' | 'headers'>): Place | undefined {
  const text = headers[SEQUENCE_HEADER];
  if (text === undefined) return undefined;
  const sequence = parseSequence(text);
  if (!sequence || key === undefined) {
    throw new MessageRefusedError(`It is strict, and its key or its ${SEQUENCE_HEADER} cannot be read.`);
  }
  const start = parseSequence(headers[SEQUENCE_START_HEADER]);
  const before = start?.generation === sequence.generation ? start.n - 1 : 0;
  return { topic, key, sequence, before, isSkipped: headers[SKIP_HEADER] !== undefined };
}

/** One name for a topic and key. */
export function laneOf({ topic, key }: Pick<Place, 'topic' | 'key'>): string {
  return `${topic}\0${key}`;
}

/** @param stored the last one that took effect; of which generation says whether it counts */
export function turnOf({ sequence, before }: Place, stored: Sequence): Turn {
  const { generation, n } = sequence;
  if (generation < stored.generation) return 'past';
  const isLater = generation > stored.generation;
  if (!isLater && n === stored.n + 1) return 'next';
  const last = Math.max(isLater ? 0 : stored.n, before);
  if (n <= last) return 'past';
  if (n > last + 1) return 'early';
  return isLater ? 'restarted' : 'next';
}
