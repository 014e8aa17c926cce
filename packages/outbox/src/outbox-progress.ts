import type { OutboxFacts } from './outbox-store.js';

/** By how much the rates of two clocks may differ. */
const DRIFT = 0.0005;

/** A look at the outbox. Both times by the local monotonic clock. */
export interface Look {
  readonly facts: OutboxFacts;
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
}

/**
 * Whether messages of one kind leave, told from two looks at the whole outbox, whoever moves them: the oldest one is a
 * younger one than before, or there are fewer. An age that only grows says nothing: a backlog that is worked off is old,
 * too. Clocks are never compared: an age is turned into a time of the local clock, with the bounds of the look.
 */
export class OutboxProgress {
  private last: { readonly look: Look; readonly movedAtMs: number } | undefined;

  constructor(
    private readonly ageOf: (facts: OutboxFacts) => number,
    private readonly countOf: (facts: OutboxFacts) => number,
  ) {}

  /** For how many milliseconds none is known to have left; 0 at the first look. */
  stillForMs(look: Look): number {
    const { last } = this;
    const hasMoved = last === undefined || this.hasMoved(last.look, look);
    const movedAtMs = hasMoved ? look.receivedAtMs : last.movedAtMs;
    this.last = { look, movedAtMs };
    return look.receivedAtMs - movedAtMs;
  }

  private hasMoved(before: Look, now: Look): boolean {
    if (this.countOf(now.facts) < this.countOf(before.facts)) return true;
    const age = this.ageOf(now.facts);
    const ageBefore = this.ageOf(before.facts);
    if (age === 0 || ageBefore === 0) return true;
    const drift = (now.receivedAtMs - before.sentAtMs) * DRIFT;
    const bornBeforeAtLatest = before.receivedAtMs - ageBefore;
    const bornNowAtEarliest = now.sentAtMs - age - 1;
    return bornNowAtEarliest - drift > bornBeforeAtLatest;
  }
}
