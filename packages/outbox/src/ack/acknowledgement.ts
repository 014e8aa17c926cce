import { v7 as uuidv7 } from 'uuid';
import type { MessageEnvelope } from '../message.js';
import { isName } from '../message-names.js';
import { isStorable } from '../message-text.js';
import type { MessageRoute } from '../message-transport.js';
import type { Settlement } from '../outbox-store.js';

/** What a consumer tells the origin of a message about its end, or that it waits. */
export type Acknowledgement = Exclude<Settlement, { outcome: 'accepted' | 'deferred' }>;

/**
 * For how long, at most, a consumer can keep a message from being published again: its word may come from outside. Holds
 * the longest pause, a day and a fifth, with the longest `redeliverAfter` on top, another day.
 */
export const LONGEST_WAIT_MS = 3 * 86_400_000;

const ACK_TOPIC = 'lockstep.ack';
const MAX_KEY_CHARS = 256;
/** The end of the year 9999: what a database has for the latest. */
const LATEST_MS = 253_402_300_799_999;
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
  if (!isObject(value)) return false;
  const { outcome, consumer, messageId, error, forMs, message } = value;
  if (!isName(consumer) || typeof messageId !== 'string' || !UUID.test(messageId)) return false;
  if (outcome === 'waiting') return typeof forMs === 'number' && forMs >= 0 && forMs <= LONGEST_WAIT_MS;
  if (outcome === 'dead') return typeof error === 'string' && (message === undefined || isMessage(message, messageId));
  return outcome === 'acknowledged';
}

/** Whether every store can keep the message as a dead letter; one that was made by others may be anything. */
export function isKeepable(message: MessageEnvelope): boolean {
  const { id, key = '', payload, headers, publishedAt } = message;
  if (!UUID.test(id) || !isMessage(message, id) || key.length > MAX_KEY_CHARS) return false;
  if (publishedAt < 0 || publishedAt > LATEST_MS) return false;
  return [key, payload, ...Object.entries(headers).flat()].every(isStorable);
}

function isMessage(value: unknown, messageId: string): boolean {
  if (!isObject(value)) return false;
  const { id, topic, key, payload, headers, publishedAt } = value;
  const hasTexts = isName(topic) && typeof payload === 'string' && (key === undefined || typeof key === 'string');
  if (id !== messageId || !hasTexts || !Number.isFinite(publishedAt) || !isObject(headers)) return false;
  return Object.values(headers).every((header) => typeof header === 'string');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
