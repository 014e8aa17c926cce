export interface ViolationContext {
  readonly name: string;
  /** To be given to `explore({ schedule })`. */
  readonly schedule: string;
  /** The same with the labels of the steps. */
  readonly trace: readonly string[];
  readonly seed: number;
}

/** A schedule that breaks an invariant, with all that is needed to run it again. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
  readonly schedule: string;
  readonly trace: readonly string[];
  readonly seed: number;

  constructor(context: ViolationContext, what: string, cause?: unknown) {
    const steps = context.trace.map((entry, index) => `  ${index + 1}. ${entry}`).join('\n');
    const replay = `Replay: explore({ …, schedule: '${context.schedule}' }), seed ${context.seed}`;
    super(`${context.name}: ${what}\n${steps}\n${replay}`, { cause });
    this.schedule = context.schedule;
    this.trace = context.trace;
    this.seed = context.seed;
  }
}
