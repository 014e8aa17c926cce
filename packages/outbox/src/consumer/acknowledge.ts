import { describeThrown, type Incidents } from '@lockstep/core';
import type { AckSender } from '../ack/ack-sender.js';
import { type Acknowledgement, isKeepable, LONGEST_WAIT_MS } from '../ack/acknowledgement.js';
import type { MessageEnvelope } from '../message.js';
import { DURABILITY_HEADER, ORIGIN_HEADER } from '../message-headers.js';
import type { Delivery, DeliveryOutcome } from '../message-transport.js';

const RETRY_MS = 1_000;
/** Where those are gathered that name no origin: no other acknowledgement fails with them. */
const NOWHERE = '';

/**
 * Tells the origins of a batch what has ended, and what waits here, so that no copies are published meanwhile; one message
 * an origin. Where that fails, `done` stays done, since the re-delivery is recognised and acknowledged again; `dead`
 * becomes `postpone`, since nobody else knows of it; what waits is delivered a few times too often. What died and names
 * no origin is kept by the store of this application.
 *
 * @returns what to answer to the transport
 */
export async function acknowledge(
  batch: readonly Delivery[],
  outcomes: readonly DeliveryOutcome[],
  consumer: string,
  acks: AckSender,
  incidents: Incidents,
): Promise<readonly DeliveryOutcome[]> {
  const failed = new Map<string, unknown>();
  for (const [origin, list] of byOrigin(batch, outcomes, consumer, acks, incidents)) {
    try {
      await acks.send(origin === NOWHERE ? acks.ownOrigin : origin, list);
    } catch (cause) {
      failed.set(origin, cause);
      incidents.report({
        code: 'OUTBOX_ACK_FAILED',
        source: 'outbox.consumer',
        message: 'acknowledgements did not arrive; the messages are delivered again and acknowledged then',
        cause,
        fields: { acknowledgements: list.length },
      });
    }
  }
  return batch.map(({ message }, index) => {
    const outcome = outcomes[index] ?? { outcome: 'done' };
    const error = failed.get(message.headers[ORIGIN_HEADER] ?? NOWHERE);
    return error !== undefined && outcome.outcome === 'dead'
      ? { outcome: 'postpone', delayMs: RETRY_MS, error }
      : outcome;
  });
}

function byOrigin(
  batch: readonly Delivery[],
  outcomes: readonly DeliveryOutcome[],
  consumer: string,
  acks: AckSender,
  incidents: Incidents,
): ReadonlyMap<string, Acknowledgement[]> {
  const groups = new Map<string, Acknowledgement[]>();
  for (const [index, delivery] of batch.entries()) {
    const origin = delivery.message.headers[ORIGIN_HEADER] || NOWHERE;
    const outcome = outcomes[index];
    const ack =
      origin === NOWHERE
        ? letterOf(delivery, outcome, consumer, acks.ownOrigin, incidents)
        : acknowledgementOf(delivery, outcome, consumer, acks.redeliverAfterMs);
    if (!ack) continue;
    const group = groups.get(origin);
    if (group) group.push(ack);
    else groups.set(origin, [ack]);
  }
  return groups;
}

/** Of a message that awaits no acknowledgement, the origin hears only when it died; it has no row left to move. */
function acknowledgementOf(
  { message }: Delivery,
  outcome: DeliveryOutcome | undefined,
  consumer: string,
  redeliverAfterMs: number,
): Acknowledgement | undefined {
  const awaited = message.headers[DURABILITY_HEADER] !== 'on-accept';
  const messageId = message.id;
  if (outcome?.outcome === 'done') return awaited ? { outcome: 'acknowledged', consumer, messageId } : undefined;
  if (outcome?.outcome === 'retry' || outcome?.outcome === 'postpone') {
    const forMs = Math.min(Math.ceil(outcome.delayMs) + redeliverAfterMs, LONGEST_WAIT_MS);
    return awaited ? { outcome: 'waiting', consumer, messageId, forMs } : undefined;
  }
  if (outcome?.outcome !== 'dead') return undefined;
  return {
    outcome: 'dead',
    consumer,
    messageId,
    error: describeThrown(outcome.error),
    ...(awaited ? {} : { message }),
  };
}

/** Of a message that names no origin, which has no row anywhere. It names this one then, or its replay would never end. */
function letterOf(
  { message }: Delivery,
  outcome: DeliveryOutcome | undefined,
  consumer: string,
  origin: string,
  incidents: Incidents,
): Acknowledgement | undefined {
  if (outcome?.outcome !== 'dead') return undefined;
  const kept: MessageEnvelope = { ...message, headers: { ...message.headers, [ORIGIN_HEADER]: origin } };
  if (isKeepable(kept)) {
    return { outcome: 'dead', consumer, messageId: message.id, error: describeThrown(outcome.error), message: kept };
  }
  incidents.report({
    code: 'OUTBOX_MESSAGE_NOT_KEPT',
    source: 'outbox.consumer',
    message: 'a message that was given up cannot be a dead letter: it is none of Lockstep, and is gone',
    cause: outcome.error,
    fields: { consumer, topic: message.topic, id: message.id },
  });
  return undefined;
}
