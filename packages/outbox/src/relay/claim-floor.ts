import { monotonicMs } from '@lockstep/core';
import type { ClaimedMessages, ClaimRequest } from '../outbox-store.js';

/** A message may commit so long after its position was drawn, and is still relayed like the others. */
const LAG_MS = 30_000;
/** One that commits later is relayed by the next claim from the beginning. */
const FROM_BEGINNING_EVERY_MS = 60_000;
/** Apart from its messages, a claim takes so long only where it had to pass much that is dead. */
const SLOW_MS = 50;
const MARK_EVERY_MS = 1_000;

interface Mark {
  readonly position: bigint;
  /** Monotonic milliseconds: everything before it was drawn earlier. */
  readonly atMs: number;
}

/** A claim that was sent, until all that it gave has left the outbox. */
export interface SentClaim {
  readonly request: Pick<ClaimRequest, 'after' | 'patient'>;
  readonly limit: number;
  readonly startedAtMs: number;
}

/**
 * Where the claims of a shard begin. What was claimed stays in the index as a dead entry for as long as a transaction
 * elsewhere might look at it; a claim from the beginning passes all of these, and a report that runs for an hour would
 * stop the relay.
 *
 * ```
 * none --something claimed, and the lag passed--> floor --rises behind the claims, by the lag--> floor
 * floor --from time to time--> one claim from the beginning, again while it ends below the floor --> floor
 * any --new owner | the store failed | claimed messages dropped--> none (from the beginning, patiently)
 * ```
 * The floor never passes what was not claimed: a message whose position was drawn before a mark was made, and that
 * committed within the lag, had committed before the claim that raises the floor to that mark was sent, and that claim
 * reached up to there. Nor what was claimed and has not left the outbox: a mark is made when it has.
 */
export class ClaimFloor {
  private floor: bigint | undefined;
  private marks: Mark[] = [];
  private fromBeginningAt = 0;
  private isSlow = false;
  /** Whether something may have been missed. */
  private isSought = false;

  /** Where the next claim begins; patiently where it is not known to be quick. */
  next(limit: number): SentClaim {
    const startedAtMs = monotonicMs();
    const isDue = startedAtMs >= this.fromBeginningAt;
    const isBounded = this.floor !== undefined && !isDue && !this.isSought;
    const request = isBounded ? { after: String(this.floor) } : { patient: isDue || this.isSlow };
    return { request, limit, startedAtMs };
  }

  /** Notes how long the claim took. */
  answered({ request, startedAtMs }: SentClaim, { messages }: ClaimedMessages): void {
    if (request.after === undefined) this.isSlow = monotonicMs() - startedAtMs > SLOW_MS + messages;
    // What woke the relay may have committed late. Where it costs little, the next claim looks for it.
    else if (messages === 0) this.isSought = !this.isSlow;
  }

  /** Everything that the claim gave is in flight or gone. */
  settled({ request, limit, startedAtMs }: SentClaim, { messages, reached }: ClaimedMessages): void {
    const upTo = messages >= limit && reached !== undefined ? BigInt(reached) : undefined;
    const isComplete = upTo === undefined || (this.floor !== undefined && upTo >= this.floor);
    if (request.after === undefined && (isComplete || this.floor === undefined)) {
      this.fromBeginningAt = startedAtMs + FROM_BEGINNING_EVERY_MS;
      this.isSought = false;
    }
    this.raise(startedAtMs - LAG_MS, upTo);
    if (reached !== undefined) this.mark(BigInt(reached));
  }

  forget(): void {
    this.floor = undefined;
    this.marks = [];
    this.fromBeginningAt = 0;
  }

  private raise(untilMs: number, upTo: bigint | undefined): void {
    const passed = this.marks.filter(({ position, atMs }) => atMs <= untilMs && position <= (upTo ?? position));
    if (passed.length === 0) return;
    this.marks = this.marks.slice(passed.length);
    this.floor = passed.at(-1)?.position;
  }

  /** One a second: the last one moves on until it is a second behind the one before it. */
  private mark(position: bigint): void {
    const last = this.marks.at(-1);
    if (position <= (last?.position ?? this.floor ?? -1n)) return;
    const atMs = monotonicMs();
    const isClose = atMs - (this.marks.at(-2)?.atMs ?? Number.NEGATIVE_INFINITY) < MARK_EVERY_MS;
    this.marks = [...(isClose ? this.marks.slice(0, -1) : this.marks), { position, atMs }];
  }
}
