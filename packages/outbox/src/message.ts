import type { Duration } from '@lockstep/core';

/**
 * What is promised about the messages of one topic and key. `best-effort`: they go out in the order of their inserts; a
 * retry or a paused process may let a later one arrive first. `strict`: a consumer never sees one before the effect of
 * the one before it is committed; one that was given up holds up its key until it is skipped or replayed.
 */
export type Ordering = 'best-effort' | 'strict';

/** A message as the application publishes it. */
export interface OutgoingMessage {
  /** Lower-case letters, digits, `.`, `_` and `-`, at most 64. */
  readonly topic: string;
  /** JSON: what `JSON.stringify` gives back unchanged. */
  readonly body: unknown;
  /** Messages of one key and topic keep their order as far as the transport can keep it. At most 256 characters. */
  readonly key?: string;
  /** Not to be delivered before this time has passed since its insert, on the store's clock. Not with `strict`. @default 0 */
  readonly delay?: Duration;
  /** `strict` needs a `key` and durability `until-ack`. @default the topic's */
  readonly ordered?: Ordering;
  /** Topic to which every consumer's result, or final refusal, is published as a {@link Reply}. @default none */
  readonly callback?: string;
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
  /** Epoch milliseconds on the clock of the producer's store: of its insert, with a `delay` when it was due. */
  readonly publishedAt: number;
  /** Id of the message that this one is a {@link Reply} to. */
  readonly inReplyTo: string | undefined;
}

/**
 * Body of what a consumer publishes to the `callback` topic of a message. `done`: its effect is committed, with what the
 * handler returned (`null` for nothing). `failed`: the message was given up and is a dead letter now; when that is
 * replayed, a `done` may follow.
 */
export type Reply<Result = unknown> =
  | { readonly outcome: 'done'; readonly consumer: string; readonly result: Result }
  | { readonly outcome: 'failed'; readonly consumer: string; readonly error: string };

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
