/** A message as the application publishes it. */
export interface OutgoingMessage {
  /** Lower-case letters, digits, `.`, `_` and `-`, at most 64. */
  readonly topic: string;
  /** JSON: what `JSON.stringify` gives back unchanged. */
  readonly body: unknown;
  /** Messages of one key and topic keep their order as far as the transport can keep it. At most 256 characters. */
  readonly key?: string;
  /** Travel with the message beside those of Lockstep; names that begin with `Lockstep-` are refused. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A message as a handler receives it. */
export interface Message {
  /** UUIDv7: what the inbox knows the message by, in every delivery of it. */
  readonly id: string;
  readonly topic: string;
  readonly key: string | undefined;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
  /** Epoch milliseconds on the clock of the producer's store. */
  readonly publishedAt: number;
}

/**
 * A message on its way. The body stays the JSON text that was written in the producer's transaction, so that stores and
 * transports neither parse it nor change a digit of it.
 */
export interface MessageEnvelope {
  readonly id: string;
  readonly topic: string;
  readonly key: string | undefined;
  /** JSON text. */
  readonly payload: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Epoch milliseconds on the clock of the producer's store. */
  readonly publishedAt: number;
}
