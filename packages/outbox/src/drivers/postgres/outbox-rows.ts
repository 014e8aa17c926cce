import type { MessageEnvelope } from '../../message.js';

export interface MessageRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly payload: string;
  readonly headers: string;
  readonly publishedAt: string;
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

/** The columns of a message as a list in JSON carries them. */
export function columnsOf({ id, topic, key, payload, headers }: Omit<MessageEnvelope, 'publishedAt'>) {
  return { message_id: id, topic, key, payload, headers: JSON.stringify(headers) };
}
