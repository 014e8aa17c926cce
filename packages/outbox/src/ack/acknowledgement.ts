import { v7 as uuidv7 } from 'uuid';
import type { MessageEnvelope } from '../message.js';
import { isName } from '../message-names.js';
import type { MessageRoute } from '../message-transport.js';
import type { Settlement } from '../outbox-store.js';

/** What a consumer tells the origin of a message about its end. */
export type Acknowledgement = Exclude<Settlement, { outcome: 'accepted' | 'deferred' }>;

const ACK_TOPIC = 'lockstep.ack';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Where the acknowledgements for an origin go. */
export function ackRoute(origin: string): MessageRoute {
  return { topic: ACK_TOPIC, consumer: origin };
}

/** One message that carries them all; it needs no row of its own, because a lost one is asked for by re-delivery. */
export function ackMessage(acknowledgements: readonly Acknowledgement[]): MessageEnvelope {
  return {
    id: uuidv7(),
    topic: ACK_TOPIC,
    key: undefined,
    payload: JSON.stringify(acknowledgements),
    headers: {},
    publishedAt: Date.now(),
  };
}

/** @throws TypeError, SyntaxError when it is none */
export function readAckMessage({ payload }: MessageEnvelope): readonly Acknowledgement[] {
  const list: unknown = JSON.parse(payload);
  if (Array.isArray(list) && list.every(isAcknowledgement)) return list;
  throw new TypeError('this is no list of acknowledgements');
}

function isAcknowledgement(value: unknown): value is Acknowledgement {
  if (typeof value !== 'object' || value === null) return false;
  const { outcome, consumer, messageId, error } = value as Record<string, unknown>;
  if (!isName(consumer) || typeof messageId !== 'string' || !UUID.test(messageId)) return false;
  return outcome === 'acknowledged' || (outcome === 'dead' && typeof error === 'string');
}
