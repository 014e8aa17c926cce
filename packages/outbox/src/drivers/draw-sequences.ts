import { SEQUENCE_HEADER } from '../message-headers.js';
import type { OutboxRecord } from '../outbox-store.js';
import { type Sequence, sequenceText } from '../sequence.js';

/** How many sequences a key needs. */
export interface Draw {
  readonly topic: string;
  readonly key: string;
  readonly wanted: number;
}

/** The last sequence that a draw gave a key. */
export interface Drawn extends Sequence, Pick<Draw, 'topic' | 'key'> {}

/** Those of the records that are strict, counted by key; in one order, whatever the order of the records. */
export function drawsOf(records: readonly OutboxRecord[]): readonly Draw[] {
  const draws = new Map<string, Draw>();
  for (const { message, strict } of records) {
    if (!strict) continue;
    const name = nameOf(message.topic, message.key ?? '');
    const wanted = (draws.get(name)?.wanted ?? 0) + 1;
    draws.set(name, { topic: message.topic, key: message.key ?? '', wanted });
  }
  return [...draws].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, draw]) => draw);
}

/** The records with what was drawn for them in their headers, in the order of the records. */
export function withSequences(
  records: readonly OutboxRecord[],
  draws: readonly Draw[],
  drawn: readonly Drawn[],
): readonly OutboxRecord[] {
  const wanted = new Map(draws.map(({ topic, key, wanted: count }) => [nameOf(topic, key), count]));
  const next = new Map<string, Sequence>();
  for (const { topic, key, generation, n } of drawn) {
    const name = nameOf(topic, key);
    next.set(name, { generation, n: n - (wanted.get(name) ?? 0) + 1 });
  }
  return records.map((record) => {
    if (!record.strict) return record;
    const name = nameOf(record.message.topic, record.message.key ?? '');
    const sequence = next.get(name);
    if (!sequence) throw new Error(`no sequence was drawn for a strict message of topic ${record.message.topic}`);
    next.set(name, { ...sequence, n: sequence.n + 1 });
    const headers = { ...record.message.headers, [SEQUENCE_HEADER]: sequenceText(sequence) };
    return { ...record, message: { ...record.message, headers } };
  });
}

function nameOf(topic: string, key: string): string {
  return `${topic}\0${key}`;
}
