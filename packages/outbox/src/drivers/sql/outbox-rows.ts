import type { MessageEnvelope } from '../../message.js';
import type { DeadLetter, OutboxFacts } from '../../outbox-store.js';
import type { Drawn } from '../draw-sequences.js';

export interface MessageRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly payload: string;
  readonly headers: string;
  readonly publishedAt: string;
}

export interface DeadRow extends MessageRow {
  readonly consumer: string;
  readonly error: string;
  readonly failedAt: string;
}

export interface DrawnRow {
  readonly topic: string;
  readonly key: string;
  readonly generation: string;
  readonly n: string;
}

export function envelopeOf({ id, topic, key, payload, headers, publishedAt }: MessageRow): MessageEnvelope {
  return {
    id,
    topic,
    key: key ?? undefined,
    payload,
    headers: JSON.parse(headers) as Record<string, string>,
    publishedAt: Number(publishedAt),
  };
}

export function deadLetterOf(row: DeadRow): DeadLetter {
  const { id, consumer, error, failedAt } = row;
  return { messageId: id, consumer, message: envelopeOf(row), error, failedAt: Number(failedAt) };
}

export function drawnOf({ topic, key, generation, n }: DrawnRow): Drawn {
  return { topic, key, generation: Number(generation), n: Number(n) };
}

export function factsOf(row: Record<keyof OutboxFacts, string> | undefined): OutboxFacts {
  return {
    oldestPendingMs: Number(row?.oldestPendingMs),
    oldestInFlightMs: Number(row?.oldestInFlightMs),
    oldestParkedMs: Number(row?.oldestParkedMs),
    oldestDueMs: Number(row?.oldestDueMs),
    delayed: Number(row?.delayed),
    pending: Number(row?.pending),
    inFlight: Number(row?.inFlight),
    dead: Number(row?.dead),
  };
}

/** The columns of a message as a list in JSON carries them. */
export function columnsOf({ id, topic, key, payload, headers }: Omit<MessageEnvelope, 'publishedAt'>) {
  return { message_id: id, topic, key, payload, headers: JSON.stringify(headers) };
}
