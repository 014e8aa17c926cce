import { describe, expect, it } from 'vitest';
import { SessionClock } from '../dist/drivers/zookeeper/session-clock.js';

const TIMEOUT_MS = 12_000;
/** The longest that a follower keeps what it knows of its clients to itself: half of the longest tick. */
const TOLD_AFTER_MS = TIMEOUT_MS / 4;

/** Answers at these times, each 5 ms after its question. */
function clockOf(times: readonly number[]): SessionClock {
  const clock = new SessionClock(0, TIMEOUT_MS);
  for (const at of times) clock.hear(at, at + 5);
  return clock;
}

/**
 * When the leader may end the session of a client that was heard at these times by a follower that ended right after the
 * last: of each contact it learns with the follower's next word, and the last word may be `phase` before the end.
 */
function earliestEnd(times: readonly number[], intervalMs: number, phase: number): number {
  const end = times.at(-1) ?? 0;
  let countedFrom = 0;
  for (let word = end - phase; word > 0; word -= intervalMs) {
    const isTouched = times.some((at) => at > word - intervalMs && at <= word);
    if (isTouched) countedFrom = Math.max(countedFrom, word);
  }
  return countedFrom + TIMEOUT_MS;
}

const EVERY_SIXTH = Array.from({ length: 13 }, (_, n) => n * 2_000);
const ALL_THE_TIME = Array.from({ length: 100 }, (_, n) => n * 90);
const AFTER_A_STALL = [0, 2_000, 4_000, 12_500, 12_600];

describe('what a session holds', () => {
  it.each([
    ['that is asked for every sixth of its timeout', EVERY_SIXTH],
    ['that is asked for all the time', ALL_THE_TIME],
    ['of a process that stood still before its last questions', AFTER_A_STALL],
    ['that was asked for once', [3_000]],
  ])('is never sure for longer than the leader keeps one %s', (_what, times) => {
    for (let heard = 1; heard <= times.length; heard += 1) {
      const { sureUntil } = clockOf(times.slice(0, heard));
      for (let intervalMs = 250; intervalMs <= TOLD_AFTER_MS; intervalMs += 250) {
        for (let phase = 1; phase < intervalMs; phase += Math.ceil(intervalMs / 10)) {
          expect(sureUntil).toBeLessThanOrEqual(earliestEnd(times.slice(0, heard), intervalMs, phase));
        }
      }
    }
  });

  it('is sure for two thirds of the timeout from the latest of answers that come every sixth', () => {
    expect(clockOf(EVERY_SIXTH).sureUntil).toBe(24_000 + (TIMEOUT_MS * 2) / 3);
  });

  it('is warned of before it is not sure any more', () => {
    const clock = clockOf(EVERY_SIXTH);
    expect(clock.warnAt).toBeLessThan(clock.sureUntil - 500);
    expect(clock.warnAt).toBeGreaterThan(24_000 + TIMEOUT_MS / 2);
  });

  it('is asked for every sixth, by way of another server after a third, and given up after the whole', () => {
    const clock = clockOf([0]);
    expect([1_999, 2_000, 4_000, 11_999, 12_000].map((at) => clock.stepAt(at))).toEqual([
      'none',
      'ask',
      'change-server',
      'change-server',
      'end',
    ]);
    expect([0, 2_000, 4_000, 11_000].map((at) => clock.nextAfter(at))).toEqual([2_000, 4_000, 11_000, 12_000]);
  });
});
