import type { MessageEnvelope } from '@lockstep/outbox';
import type { Msg } from '@nats-io/transport-node';

/** What the server says about one delivery, in the subject by which it is answered. */
export interface DeliveryTicket {
  /** Where answers go. */
  readonly reply: string;
  /** The message's number in its stream. */
  readonly sequence: number;
  /** How often the server has delivered the message, this time included. */
  readonly deliveries: number;
  /** Tells messages with one number apart, which a stream has that was lost and created again. */
  readonly identity: string;
}

/** A message in the hands of this process, from its delivery until the server has heard the answer. */
export class Parcel {
  /** Deliveries that count, before this one. */
  attempts = 0;
  /** Whether an earlier delivery was never answered for: its process died, stalled or lost the server. */
  isSuspect = false;
  /** False until it is known what became of earlier deliveries. */
  isReady: boolean;
  /** Whether the server keeps a note about the message. */
  hasNote = false;
  /** Whether the server has heard that the message is done or dead. */
  hasEnded = false;
  /** On its way back to the server; since when it may come again, by the local clock. */
  backFrom: number | undefined;
  /** The server has delivered it anew meanwhile: whatever is still tried here is no longer wanted. */
  isReplaced = false;

  constructor(
    readonly message: MessageEnvelope,
    private current: DeliveryTicket,
  ) {
    this.isReady = current.deliveries === 1;
  }

  get ticket(): DeliveryTicket {
    return this.current;
  }

  get key(): string | undefined {
    return this.message.key;
  }

  /** The server delivered the message again while it is here: the answer belongs to the newest delivery. */
  adopt(ticket: DeliveryTicket): void {
    this.current = ticket;
  }
}

/**
 * Reads `$JS.ACK.…`, whose older form has 9 parts and whose newer one has two more in front of the stream.
 *
 * @throws Error when it is neither
 */
export function ticketOf({ reply = '' }: Pick<Msg, 'reply'>): DeliveryTicket {
  const parts = reply.split('.');
  const from = parts.length === 9 ? 4 : 6;
  const [deliveries, sequence, , timestamp] = parts.slice(from);
  if (!reply.startsWith('$JS.ACK.') || timestamp === undefined) throw new Error(`not a delivery: ${reply}`);
  return {
    reply,
    sequence: Number(sequence),
    deliveries: Number(deliveries),
    identity: `${sequence}@${timestamp}`,
  };
}
