import { describeThrown } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';
import { derivedId } from '../derived-id.js';
import type { Message, MessageEnvelope, Reply } from '../message.js';
import { CALLBACK_HEADER } from '../message-headers.js';
import type { OutboxService } from '../outbox.service.js';

const MAX_ERROR_CHARS = 2_000;

type Asking = Pick<MessageEnvelope, 'id' | 'key' | 'headers'>;

/**
 * Publishes what a handler returned for those of its messages that ask for it, in the transaction of the effect.
 *
 * @param results one for each message, or none at all
 * @throws MessageInvalidError when a result cannot be published; Error when there are fewer results than messages
 */
export async function replyDone(
  outbox: OutboxService,
  tx: SqlTransaction,
  consumer: string,
  messages: readonly Message[],
  results: readonly unknown[] | undefined,
): Promise<void> {
  if (!messages.some(asksForReply)) return;
  if (results !== undefined && !(Array.isArray(results) && results.length === messages.length)) {
    throw new Error(`for ${messages.length} messages the handler must give as many results, or undefined`);
  }
  for (const [index, message] of messages.entries()) {
    const reply: Reply = { outcome: 'done', consumer, result: results?.[index] ?? null };
    await publish(outbox, tx, message, reply);
  }
}

/** Publishes that a message was given up. @throws MessageInvalidError when what it asks for cannot be published */
export async function replyFailed(
  outbox: OutboxService,
  tx: SqlTransaction,
  consumer: string,
  message: Asking,
  error: unknown,
): Promise<void> {
  const text = describeThrown(error).slice(0, MAX_ERROR_CHARS);
  await publish(outbox, tx, message, { outcome: 'failed', consumer, error: text });
}

export function asksForReply({ headers }: Asking): boolean {
  return headers[CALLBACK_HEADER] !== undefined;
}

async function publish(outbox: OutboxService, tx: SqlTransaction, message: Asking, reply: Reply): Promise<void> {
  const topic = message.headers[CALLBACK_HEADER];
  if (topic === undefined) return;
  const id = derivedId(message.id, 'reply', reply.consumer, reply.outcome);
  const key = message.key === undefined ? {} : { key: message.key };
  await outbox.publishReply(tx, { topic, body: reply, ...key }, { id, inReplyTo: message.id });
}
