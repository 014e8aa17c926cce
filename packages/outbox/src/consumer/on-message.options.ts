import { ConfigurationError, checkKnown, type Duration, durationMs, wholeNumber } from '@lockstep/core';
import { checkedName } from '../message-names.js';

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
    /** At most a day. @default '1s' */
    readonly first?: Duration;
    /** At most a day; no less than `first`. @default '5m', or `first` where that is longer */
    readonly atMost?: Duration;
  };
  /** Batches that one process handles at a time; 1 to 256. Above 1, messages may overtake each other. @default 4 */
  readonly concurrency?: number;
  /**
   * Whether the method is called with many messages at a time, in one transaction; see {@link OnMessageBatchOptions}.
   * @default false: one after the other, each in its own transaction
   */
  readonly batch?: false;
  /** Messages of a batch; 1 to 1000. @default 100 with `batch`, else 16 */
  readonly batchSize?: number;
}

/** Of a handler that takes batches. */
export interface OnMessageBatchOptions extends Omit<OnMessageOptions, 'batch'> {
  readonly batch: true;
}

export interface ResolvedOnMessageOptions {
  readonly consumer: string;
  readonly attempts: number;
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  readonly concurrency: number;
  readonly batch: boolean;
  readonly batchSize: number;
}

/** Longer than this, no origin is kept from publishing copies. */
const LONGEST_PAUSE_MS = 86_400_000;
const OPTION_NAMES = ['consumer', 'attempts', 'backoff', 'concurrency', 'batch', 'batchSize'];

/** @throws ConfigurationError naming the option and its value */
export function resolveOnMessageOptions(options: OnMessageOptions | OnMessageBatchOptions): ResolvedOnMessageOptions {
  checkKnown(options, '@OnMessage options', OPTION_NAMES);
  if (options.backoff !== undefined) checkKnown(options.backoff, '@OnMessage backoff', ['first', 'atMost']);
  const firstPauseMs = durationMs(options.backoff?.first ?? '1s', '@OnMessage backoff.first', {
    minMs: 1,
    maxMs: LONGEST_PAUSE_MS,
  });
  const batch = options.batch ?? false;
  if (typeof batch !== 'boolean') throw ConfigurationError.option('@OnMessage batch', batch, 'true or false');
  const atMost = options.backoff?.atMost ?? Math.max(300_000, firstPauseMs);
  return Object.freeze({
    consumer: checkedName(options.consumer, '@OnMessage consumer'),
    attempts: wholeNumber('@OnMessage attempts', options.attempts ?? 8, 1, 1_000),
    firstPauseMs,
    longestPauseMs: durationMs(atMost, '@OnMessage backoff.atMost', { minMs: firstPauseMs, maxMs: LONGEST_PAUSE_MS }),
    concurrency: wholeNumber('@OnMessage concurrency', options.concurrency ?? 4, 1, 256),
    batch,
    batchSize: wholeNumber('@OnMessage batchSize', options.batchSize ?? (batch ? 100 : 16), 1, 1_000),
  });
}
