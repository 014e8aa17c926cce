/** The pauses before the attempts; as many attempts as pauses. */
export class AttemptSchedule {
  /**
   * @param pausesMs before the first attempt, the second one …
   * @param jitter by how much a pause may be longer, as a part of it: what failed together must not come back together
   */
  constructor(
    private readonly pausesMs: readonly number[],
    private readonly jitter: number,
  ) {}

  get attempts(): number {
    return this.pausesMs.length;
  }

  /** How long attempt `number`, from 1, waits; undefined when there is none. Never shorter than the pause itself. */
  pauseBefore(number: number): number | undefined {
    const pauseMs = this.pausesMs[number - 1];
    return pauseMs === undefined ? undefined : Math.round(pauseMs * (1 + Math.random() * this.jitter));
  }
}
