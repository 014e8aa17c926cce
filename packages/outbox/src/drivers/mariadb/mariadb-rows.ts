import { type MessageEnvelope } from '../../message.js';
import { envelopeOf, type MessageRow } from '../sql/outbox-rows.js';

/** An id as lists carry it: MariaDB keeps it as 16 bytes. */
export function hexOf(id: string): string {
  return id.replaceAll('-', '');
}

export function idOf(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function messageOfRow(row: MessageRow): MessageEnvelope {
  return envelopeOf({ ...row, id: idOf(row.id) });
}

/** The columns of a message as a list in JSON carries them. */
export function entryOf({ id, topic, key, payload, headers }: Omit<MessageEnvelope, 'publishedAt'>) {
  return { message_id: hexOf(id), topic, key, payload, headers: JSON.stringify(headers) };
}
