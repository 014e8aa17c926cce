import { type Duration, durationMs } from '@lockstep/core';
import { checkedName } from '../message-names.js';
import { checkKnown, wholeNumber } from '../outbox.options.js';

export interface OnMessageOptions {
  /**
   * Name of the consumer: every consumer of a topic receives each of its messages, and the processes that run the same
   * consumer share them. Keep it: another name is another consumer. Lower-case letters, digits, `.`, `_` and `-`.
   */
  readonly consumer: string;
  /** How often a message is tried before it becomes a dead letter; 1 to 1000. @default 8 */
  readonly attempts?: number;
  /** Pause before the next attempt: doubles each time, drawn from ± 20 %. */
  readonly backoff?: {
    /** @default '1s' */
    readonly first?: Duration;
    /** @default '5m' */
    readonly atMost?: Duration;
  };
  /** Batches that one process handles at a time; 1 to 256. Above 1, messages may overtake each other. @default 4 */
  readonly concurrency?: number;
  /** Messages of a batch, handled one after the other, each in its own transaction; 1 to 1000. @default 16 */
  readonly batchSize?: number;
}

export interface ResolvedOnMessageOptions {
  readonly consumer: string;
  readonly attempts: number;
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  readonly concurrency: number;
  readonly batchSize: number;
}

const OPTION_NAMES = ['consumer', 'attempts', 'backoff', 'concurrency', 'batchSize'];

/** @throws ConfigurationError naming the option and its value */
export function resolveOnMessageOptions(options: OnMessageOptions): ResolvedOnMessageOptions {
  checkKnown(options, '@OnMessage options', OPTION_NAMES);
  if (options.backoff !== undefined) checkKnown(options.backoff, '@OnMessage backoff', ['first', 'atMost']);
  const firstPauseMs = durationMs(options.backoff?.first ?? '1s', '@OnMessage backoff.first', { minMs: 1 });
  const atMost = options.backoff?.atMost ?? Math.max(300_000, firstPauseMs);
  return Object.freeze({
    consumer: checkedName(options.consumer, '@OnMessage consumer'),
    attempts: wholeNumber(options.attempts ?? 8, '@OnMessage attempts', 1, 1_000),
    firstPauseMs,
    longestPauseMs: durationMs(atMost, '@OnMessage backoff.atMost', { minMs: firstPauseMs }),
    concurrency: wholeNumber(options.concurrency ?? 4, '@OnMessage concurrency', 1, 256),
    batchSize: wholeNumber(options.batchSize ?? 16, '@OnMessage batchSize', 1, 1_000),
  });
}
