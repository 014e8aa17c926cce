import { type Incidents, monotonicMs } from '@lockstep/core';
import { parseSequence, type Sequence, sequenceText } from '../sequence.js';
import { OutOfTurnError } from './gate.errors.js';
import { laneOf, type Place, turnOf } from './turn.js';

/** What a message before this one takes at least; so early ones come back about when it is their turn, in their order. */
const STEP_MS = 20;
/** One with more before it than these may come back a little late. */
const NEAR_STEPS = 8;
/** Between two messages of a process that come back far from their turn, of all keys together. */
const FAR_EVERY_MS = 25;
const LONGEST_PAUSE_MS = 30_000;
/** Other processes move keys as well. */
const LONGEST_TRUST_MS = 1_000;
const REPORT_AFTER_MS = 60_000;
/** Beyond it the keys that wait longest begin anew, and are asked for more often than need be. */
const MOST_KEYS = 10_000;

interface Blocked {
  /** The last one that took effect; another one means that the key moves. */
  readonly last: string;
  readonly sinceMs: number;
  /** When the database was last asked. */
  seenAtMs: number;
  reportedAtMs: number;
}

export interface StillEarly {
  readonly error: OutOfTurnError;
  readonly delayMs: number;
}

/**
 * Keys of which messages wait for their turn, as this process has seen them.
 *
 * ```
 * moving --a message came early--> blocked --the position moved, here or seen at the gate--> moving
 *                                    '-- for a minute --> reported, then once a minute
 * ```
 * How long a key waits is taken from the local monotonic clock: the times in its messages are those of another server.
 */
export class BlockedKeys {
  private readonly keys = new Map<string, Blocked>();
  /** When the next one that is far from its turn may come back. */
  private farFreeAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly consumer: string,
    private readonly incidents: Incidents,
    private readonly nowMs: () => number = monotonicMs,
  ) {}

  /**
   * How long a message that came early is to be left alone: for as long as those before it take, and where the key does
   * not move, a quarter of the time that it has waited by now. Those far from their turn come back at a bounded rate: a
   * transport that is busy with them alone would not come to the one that they wait for.
   */
  pauseFor(early: OutOfTurnError): number {
    const nowMs = this.nowMs();
    const blocked = this.see(early, nowMs);
    const waitedMs = nowMs - blocked.sinceMs;
    if (nowMs - blocked.reportedAtMs >= REPORT_AFTER_MS) {
      blocked.reportedAtMs = nowMs;
      this.report(early, waitedMs);
    }
    return this.pauseOf(early, waitedMs);
  }

  /**
   * What the gate would say of a message that cannot have its turn yet, by what it said a moment ago: nobody takes `k`
   * steps in less time than `k` steps take. Undefined where the gate must be asked. Without it, the copies of all that
   * waits behind a blocked key would each cost a transaction, time and again, and hold up the one that they wait for.
   *
   * @param reached how far the key will have come by then, where others of it go ahead of this one
   */
  stillEarly(place: Place, reached?: Sequence): StillEarly | undefined {
    const known = this.keys.get(laneOf(place));
    const last = parseSequence(known?.last);
    if (!known || !last) return undefined;
    const stored = reached?.generation === last.generation && reached.n > last.n ? reached : last;
    if (turnOf(place, stored) !== 'early') return undefined;
    const error = new OutOfTurnError(place, known.last);
    const nowMs = this.nowMs();
    if (nowMs - known.seenAtMs >= Math.min(stepsAhead(error) * STEP_MS, LONGEST_TRUST_MS)) return undefined;
    return { error, delayMs: this.pauseOf(error, nowMs - known.sinceMs) };
  }

  get isEmpty(): boolean {
    return this.keys.size === 0;
  }

  /** A message of a blocked key took effect here. */
  moved(place: Place): void {
    const known = this.keys.get(laneOf(place));
    const last = parseSequence(known?.last);
    if (!known || !last || turnOf(place, last) === 'past') return;
    const nowMs = this.nowMs();
    this.keys.set(laneOf(place), {
      last: sequenceText(place.sequence),
      sinceMs: nowMs,
      seenAtMs: nowMs,
      reportedAtMs: nowMs,
    });
  }

  private pauseOf(early: OutOfTurnError, waitedMs: number): number {
    const steps = stepsAhead(early);
    let pauseMs = Math.max(waitedMs / 4, steps * STEP_MS);
    if (steps > NEAR_STEPS) {
      const nowMs = this.nowMs();
      // No further ahead than anybody is sent: a key that was blocked for hours would be slow for as long again.
      this.farFreeAtMs = Math.min(Math.max(this.farFreeAtMs, nowMs) + FAR_EVERY_MS, nowMs + LONGEST_PAUSE_MS);
      pauseMs = Math.max(pauseMs, this.farFreeAtMs - nowMs);
    }
    return Math.round(Math.min(pauseMs, LONGEST_PAUSE_MS));
  }

  private see({ place, last }: OutOfTurnError, nowMs: number): Blocked {
    const name = laneOf(place);
    const known = this.keys.get(name);
    if (known?.last === last) {
      known.seenAtMs = nowMs;
      return known;
    }
    const blocked = { last, sinceMs: nowMs, seenAtMs: nowMs, reportedAtMs: nowMs };
    // At the end, so that the ones in front are those that wait longest or have moved on.
    this.keys.delete(name);
    this.keys.set(name, blocked);
    const [oldest] = this.keys.keys();
    if (this.keys.size > MOST_KEYS && oldest !== undefined) this.keys.delete(oldest);
    return blocked;
  }

  private report({ place, last }: OutOfTurnError, waitedMs: number): void {
    this.incidents.report({
      code: 'OUTBOX_KEY_BLOCKED',
      source: 'outbox.gate',
      message: 'messages of a strict key wait for an earlier one: is it a dead letter, to be skipped or replayed?',
      fields: {
        consumer: this.consumer,
        topic: place.topic,
        key: place.key,
        sequence: sequenceText(place.sequence),
        last,
        waitedMs: Math.round(waitedMs),
      },
    });
  }
}

/** How many messages must take effect before this one. */
function stepsAhead({ place: { sequence, before }, last }: OutOfTurnError): number {
  const stored = parseSequence(last);
  const reached = stored?.generation === sequence.generation ? Math.max(stored.n, before) : before;
  return sequence.n - reached - 1;
}
