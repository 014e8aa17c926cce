import type { MessageEnvelope } from '../message.js';
import type { DeliveryOutcome } from '../message-transport.js';
import type { ConsumerServices } from './consumer-services.js';
import { asksForReply, replyFailed } from './replies.js';
import { type Place, placeOf } from './turn.js';
import { isNoFaultOfTheMessage } from './verdict.js';

const RETRY_MS = 1_000;

type Dead = Extract<DeliveryOutcome, { outcome: 'dead' }>;

/**
 * What is written at the consumer when it gives a message up, before anybody is told: the `failed` reply, where one was
 * asked for, and that the position of its key is still needed. Done twice, the inbox recognises the second time.
 *
 * @returns the outcome itself, or `postpone` when it could not be written now
 */
export async function bury(
  services: ConsumerServices,
  consumer: string,
  message: MessageEnvelope,
  outcome: Dead,
): Promise<DeliveryOutcome> {
  const place = readablePlaceOf(message);
  const asks = asksForReply(message);
  if (!place && !asks) return outcome;
  try {
    if (place) await services.gate.prepare();
    await services.carriers.run(message.headers, () =>
      services.sql.transaction(
        async (tx) => {
          if (place) await services.gate.hold(tx, consumer, place);
          if (!asks || !(await services.inbox.once(tx, `${consumer}/failed`, message.id))) return;
          await replyFailed(services.outbox, tx, consumer, message, outcome.error);
        },
        { propagation: 'requires-new', isolation: 'read committed' },
      ),
    );
    return outcome;
  } catch (cause) {
    services.incidents.report({
      code: 'OUTBOX_REPLY_FAILED',
      source: 'outbox.consumer',
      message: 'what is to be known of a message that was given up could not be written',
      cause,
      fields: { consumer, topic: message.topic, id: message.id },
    });
    // A reply that can never be published must not keep the message from its end.
    return isNoFaultOfTheMessage(cause) ? { outcome: 'postpone', delayMs: RETRY_MS, error: cause } : outcome;
  }
}

function readablePlaceOf(message: MessageEnvelope): Place | undefined {
  try {
    return placeOf(message);
  } catch {
    // That it cannot be read is why the message is given up.
    return undefined;
  }
}
