import { type Incidents, monotonicMs } from '@lockstep/core';
import { parseSequence, sequenceText } from '../sequence.js';
import type { OutOfTurnError } from './gate.errors.js';

/** What a message before this one takes at least; so early ones come back about when it is their turn, in their order. */
const STEP_MS = 20;
const LONGEST_PAUSE_MS = 30_000;
const REPORT_AFTER_MS = 60_000;
/** Beyond it the keys that wait longest begin anew, and are asked for more often than need be. */
const MOST_KEYS = 10_000;

interface Blocked {
  /** The last one that took effect; another one means that the key moves. */
  readonly last: string;
  readonly sinceMs: number;
  reportedAtMs: number;
}

/**
 * Keys of which messages wait for their turn, as this process has seen them.
 *
 * ```
 * moving --a message came early--> blocked --the position moved--> moving
 *                                    '-- for a minute --> reported, then once a minute
 * ```
 * How long a key waits is taken from the local monotonic clock: the times in its messages are those of another server.
 */
export class BlockedKeys {
  private readonly keys = new Map<string, Blocked>();

  constructor(
    private readonly consumer: string,
    private readonly incidents: Incidents,
    private readonly nowMs: () => number = monotonicMs,
  ) {}

  /**
   * How long a message that came early is to be left alone: for as long as those before it take, and where the key does
   * not move, a quarter of the time that it has waited by now.
   */
  pauseFor(early: OutOfTurnError): number {
    const nowMs = this.nowMs();
    const blocked = this.see(early, nowMs);
    const waitedMs = nowMs - blocked.sinceMs;
    if (nowMs - blocked.reportedAtMs >= REPORT_AFTER_MS) {
      blocked.reportedAtMs = nowMs;
      this.report(early, waitedMs);
    }
    return Math.round(Math.min(Math.max(waitedMs / 4, stepsAhead(early) * STEP_MS), LONGEST_PAUSE_MS));
  }

  private see({ place, last }: OutOfTurnError, nowMs: number): Blocked {
    const name = `${place.topic}\0${place.key}`;
    const known = this.keys.get(name);
    if (known?.last === last) return known;
    const blocked = { last, sinceMs: nowMs, reportedAtMs: nowMs };
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
