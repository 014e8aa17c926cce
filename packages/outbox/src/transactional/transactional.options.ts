import { ConfigurationError, checkKnown, type Duration, durationMs, wholeNumber } from '@lockstep/core';
import type { OutgoingMessage } from '../message.js';
import { checkedTopic } from '../message-names.js';
import type { HalfMessage } from './prepared-message-store.js';

/** When a half message whose outcome nobody has told is checked. */
export interface CheckBackOptions {
  /** From the preparation to the first check. @default '6s' */
  readonly checkAfter?: Duration;
  /** @default '30s' */
  readonly checkEvery?: Duration;
  /** After which a message whose outcome is still unknown is parked, for a person to decide; 1 to 10 000. @default 15 */
  readonly checks?: number;
  /** From the preparation on, for how long a transaction may join the message; at most 30 days. @default '10m' */
  readonly deadline?: Duration;
  /**
   * How long work elsewhere can be running at most, from the preparation on. Before that, a check that finds nothing has
   * not seen the end. No more than `checks` reach, or the message is parked before it can be rolled back.
   * @default '1m'
   */
  readonly maxTransactionAge?: Duration;
}

export interface TransactionalMessageInit extends CheckBackOptions, Pick<OutgoingMessage, 'body' | 'key' | 'headers'> {
  readonly topic: string;
  /** From the commit on. */
  readonly delay?: Duration;
  readonly callback?: string;
  /**
   * Name of the check, given to `registerCheck`, that knows of the local work.
   * @default none: the work joins the message by `half.join(tx)`
   */
  readonly check?: string;
  /** Name of the compensator, given to `registerCompensator`. @default none: an incident when the message is given up */
  readonly compensator?: string;
}

export type CheckBack = Pick<HalfMessage, 'checkAfterMs' | 'checkEveryMs' | 'checks' | 'joinWithinMs' | 'maxAgeMs'>;

export const CHECK_BACK_NAMES = ['checkAfter', 'checkEvery', 'checks', 'deadline', 'maxTransactionAge'] as const;
const INIT_NAMES = ['topic', 'body', 'key', 'headers', 'delay', 'callback', 'check', 'compensator'];
const DAY_MS = 86_400_000;

/** @throws ConfigurationError naming the option and its value */
export function resolveCheckBack(options: CheckBackOptions, where: string): CheckBack {
  const { checkAfter = '6s', checkEvery = '30s', checks = 15, deadline = '10m', maxTransactionAge = '1m' } = options;
  const upToAMonth = { minMs: 1, maxMs: 30 * DAY_MS };
  const resolved = {
    checkAfterMs: durationMs(checkAfter, `${where} checkAfter`, upToAMonth),
    checkEveryMs: durationMs(checkEvery, `${where} checkEvery`, upToAMonth),
    checks: wholeNumber(`${where} checks`, checks, 1, 10_000),
    joinWithinMs: durationMs(deadline, `${where} deadline`, upToAMonth),
    maxAgeMs: durationMs(maxTransactionAge, `${where} maxTransactionAge`, { ...upToAMonth, minMs: 0 }),
  };
  const lastCheckMs = resolved.checkAfterMs + (resolved.checks - 1) * resolved.checkEveryMs;
  if (resolved.maxAgeMs > lastCheckMs) {
    const reached = `at most ${lastCheckMs} ms, when the last of the checks is`;
    throw ConfigurationError.option(`${where} maxTransactionAge`, maxTransactionAge, reached);
  }
  return Object.freeze(resolved);
}

/** @throws ConfigurationError where a program without types passed something else */
export function checkInit(init: TransactionalMessageInit): void {
  checkKnown(init, 'transactional message', [...INIT_NAMES, ...CHECK_BACK_NAMES]);
  checkedTopic(init.topic, 'transactional message topic');
}
