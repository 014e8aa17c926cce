/** Names the application that the message comes from, whose store waits for the acknowledgement. */
export const ORIGIN_HEADER = 'Lockstep-Origin';
/** `until-ack` or `on-accept`. */
export const DURABILITY_HEADER = 'Lockstep-Durability';

/** `<generation>.<n>`: place of a strict message among those of its topic and key. Drawn by the store in the transaction. */
export const SEQUENCE_HEADER = 'Lockstep-Sequence';
/** `<generation>.<n>`: the first of the key that this consumer gets, where it subscribed when the key already had some. */
export const SEQUENCE_START_HEADER = 'Lockstep-Sequence-Start';
/** Present on a strict message that was skipped: it takes its turn, and the handler is not called. */
export const SKIP_HEADER = 'Lockstep-Skip';
/** Topic for the {@link Reply}. */
export const CALLBACK_HEADER = 'Lockstep-Callback';
/** Id of the message that a reply is about. */
export const IN_REPLY_TO_HEADER = 'Lockstep-In-Reply-To';
/** Consumer of {@link FAILED_TOPIC} that is told when the message is given up. */
export const COMPENSATOR_HEADER = 'Lockstep-Compensator';
/** What a dead letter has once it is delivered anew: its row lives until it is acknowledged, whatever its topic promises. */
export const AWAITED_AGAIN: Readonly<Record<string, string>> = { [DURABILITY_HEADER]: 'until-ack' };
/** Topic of what compensators are told. */
export const FAILED_TOPIC = 'lockstep.failed';

/**
 * How long a message is kept by its producer. `until-ack`: until the consumer has acknowledged its committed effect, so
 * that a transport that loses everything delays it and does not lose it. `on-accept`: until the transport has accepted
 * it; cheaper, and from then on as durable as the transport is.
 */
export type Durability = 'until-ack' | 'on-accept';

const RESERVED = /^lockstep-/i;
const HEADER_NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** Why a user's headers are not allowed; undefined when they are. */
export function headersFault(headers: unknown): string | undefined {
  if (typeof headers !== 'object' || headers === null) return 'its headers are no object';
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) return `header '${name}' is no name of 1 to 64 letters, digits, dots, _ and -`;
    if (RESERVED.test(name)) return `header '${name}' begins with Lockstep-, which is reserved`;
    if (typeof value !== 'string') return `header '${name}' is no string`;
  }
  return undefined;
}

const TRACE_HEADER = /^trace(parent|state)$/i;

/** Lockstep's go before the user's. Where the context has a trace, half of another one must not be mixed with it. */
export function joinedHeaders(
  headers: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const { traceparent } = own;
  if (traceparent === undefined) return { ...headers, ...own };
  return { ...Object.fromEntries(Object.entries(headers).filter(([name]) => !TRACE_HEADER.test(name))), ...own };
}
