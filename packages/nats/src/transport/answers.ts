import { checkpoint, type Incidents, isLockstepError, monotonicMs, rested } from '@lockstep/core';
import type { DeliveryOutcome } from '@lockstep/outbox';
import { nanos } from '@nats-io/transport-node';
import { hadNoResponders, isApiError } from '../server/nats-errors.js';
import type { NatsLink } from '../server/nats-link.js';
import type { Notes } from './notes.js';
import type { Parcel } from './parcel.js';

const AGAIN_MS = 300;
/** A server that has just started has its streams a little later. */
const MISSING_TRIES = 5;
const REPORT_EVERY_MS = 5_000;

/** `returned`: the message was not handed over. */
export type Verdict = DeliveryOutcome | { readonly outcome: 'returned'; readonly delayMs: number };

/**
 * Tells the server what became of each delivery, until it has heard:
 *
 * ```
 * done | dead        --acknowledged, with an answer--> its note removed --> gone
 * retry | postpone   --noted what counts--> refused with its delay --> delivered again
 * ```
 *
 * Crash by crash: before an acknowledgement the message comes again, suspect, and was handled twice; between that and
 * the note's removal the note is swept later; before a note the delivery is unaccounted for, so the message comes again
 * suspect and uncounted; between note and refusal it comes again after the wait of the server, counted right.
 */
export class Answers {
  private reportedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly link: NatsLink,
    private readonly notes: Notes,
    /** Once aborted, one more try is all there is. */
    private readonly closing: AbortSignal,
    private readonly incidents: Incidents,
  ) {}

  /** Never rejects: what the server could not be told it finds out by itself, after its wait. */
  async give(parcel: Parcel, verdict: Verdict): Promise<void> {
    if (verdict.outcome === 'done' || verdict.outcome === 'dead') {
      parcel.hasEnded = await this.insist(parcel, () => this.tell(parcel, 'transport.acknowledge', '+ACK'));
      checkpoint('nats.message.acknowledged', { sequence: parcel.ticket.sequence });
      return;
    }
    const attempts = verdict.outcome === 'retry' ? parcel.attempts + 1 : parcel.attempts;
    parcel.backFrom = monotonicMs() + verdict.delayMs;
    await this.insist(parcel, async () => {
      await this.notes.settled(parcel, attempts);
      checkpoint('nats.note.written', { sequence: parcel.ticket.sequence });
      const delayMs = Math.max(0, Math.ceil((parcel.backFrom ?? 0) - monotonicMs()));
      // Without a delay the server wants the bare word.
      const refusal = delayMs === 0 ? '-NAK' : `-NAK ${JSON.stringify({ delay: nanos(delayMs) })}`;
      await this.tell(parcel, 'transport.return', refusal);
    });
  }

  /** Asks for what is known of a parcel's earlier deliveries; false when it could not be had. */
  recall(parcel: Parcel): Promise<boolean> {
    return this.insist(parcel, () => this.notes.recall(parcel));
  }

  /** Writes down that a suspect is tried now; false when it must not be. */
  trying(parcel: Parcel): Promise<boolean> {
    return this.insist(parcel, () => this.notes.trying(parcel));
  }

  /** Removes what was known of a message that has ended; never rejects. */
  async tidy(parcel: Parcel): Promise<void> {
    if (!parcel.hasEnded || !parcel.hasNote) return;
    try {
      await this.notes.remove(parcel);
    } catch (cause) {
      const message = 'a note about a message that ended is left behind until the next sweep';
      this.incidents.report({ code: 'NOTE_LEFT_BEHIND', source: 'nats.transport', message, cause });
    }
  }

  private async tell(parcel: Parcel, operation: string, word: string): Promise<void> {
    await this.link.run(operation, (nats, remaining) =>
      nats.request(parcel.ticket.reply, word, { timeout: remaining() }),
    );
  }

  private async insist(parcel: Parcel, attempt: () => Promise<void>): Promise<boolean> {
    for (let missing = 0; ; ) {
      const isLast = this.closing.aborted;
      try {
        await attempt();
        return true;
      } catch (cause) {
        if (hadNoResponders(cause)) missing += 1;
        const isHopeless = isLast || missing >= MISSING_TRIES || parcel.isReplaced || !isPassing(cause);
        this.report(cause);
        if (isHopeless || parcel.isReplaced) return false;
        await rested(AGAIN_MS, this.closing);
      }
      if (parcel.isReplaced) return false;
    }
  }

  /** A window full of messages meets the same outage: it is said once in a while. */
  private report(cause: unknown): void {
    const now = monotonicMs();
    if (now - this.reportedAt < REPORT_EVERY_MS) return;
    this.reportedAt = now;
    const message = 'the server was not yet told what became of messages; they may be delivered again';
    this.incidents.report({ code: 'ANSWERS_DELAYED', source: 'nats.transport', message, cause });
  }
}

/** Whether it may be otherwise a little later: a stream that is full has room again. */
function isPassing(cause: unknown): boolean {
  return isApiError(cause) || (isLockstepError(cause) && cause.kind === 'unavailable');
}
