import { derivedId } from './derived-id.js';
import type { MessageEnvelope } from './message.js';
import {
  COMPENSATOR_HEADER,
  DURABILITY_HEADER,
  FAILED_TOPIC,
  IN_REPLY_TO_HEADER,
  ORIGIN_HEADER,
} from './message-headers.js';

/** Body of what a compensator is told. */
export interface FailureNotice {
  readonly messageId: string;
  readonly topic: string;
  readonly key: string | null;
  /** Who gave the message up. */
  readonly consumer: string;
  readonly error: string;
  /** Of the message that was given up: JSON text, unless that is why it was given up. */
  readonly payload: string;
}

type Dead = Omit<MessageEnvelope, 'publishedAt'>;

export interface AddressedNotice {
  /** The compensator, a consumer of {@link FAILED_TOPIC}. */
  readonly consumer: string;
  readonly message: Dead;
}

export function failureNoticeId(messageId: string, consumer: string): string {
  return derivedId(messageId, FAILED_TOPIC, consumer);
}

/** What is to be told to the compensator of a message that `consumer` gave up; undefined where it names none. */
export function failureNoticeOf(dead: Dead, consumer: string, error: string): AddressedNotice | undefined {
  const compensator = dead.headers[COMPENSATOR_HEADER];
  if (compensator === undefined) return undefined;
  const { id, topic, key, payload } = dead;
  const notice: FailureNotice = { messageId: id, topic, key: key ?? null, consumer, error, payload };
  return {
    consumer: compensator,
    message: {
      id: failureNoticeId(id, consumer),
      topic: FAILED_TOPIC,
      key,
      payload: JSON.stringify(notice),
      headers: {
        [ORIGIN_HEADER]: dead.headers[ORIGIN_HEADER] ?? '',
        [DURABILITY_HEADER]: 'until-ack',
        [IN_REPLY_TO_HEADER]: id,
      },
    },
  };
}
