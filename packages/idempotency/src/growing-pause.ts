const FIRST_MS = 50;
const LONGEST_MS = 1_000;

/** Pauses between tries of what a store has refused: doubling, from 50 ms to a second. */
export class GrowingPause {
  private ms = FIRST_MS / 2;

  next(): number {
    this.ms = Math.min(this.ms * 2, LONGEST_MS);
    return this.ms;
  }
}
