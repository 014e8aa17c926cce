/** Parks the actor until the explorer lets it go on. What stands between two steps happens at once for the others. */
export type Step = (label: string) => Promise<void>;

/** One concurrent party: an async function that awaits `step`, or an async generator that yields its labels. */
export type Actor = (step: Step) => Promise<void> | AsyncGenerator<string, void, void>;

export interface Exploration<World> {
  readonly name: string;
  /** Makes a fresh world; called once per schedule. */
  readonly setup: () => World | Promise<World>;
  readonly actors: (world: World) => Readonly<Record<string, Actor>>;
  /** Checked after every step; throws, or returns (a promise of) false, when it does not hold. */
  readonly invariant?: (world: World) => unknown;
  /** Checked once all actors have ended or crashed. */
  readonly finalInvariant?: (world: World) => unknown;
  readonly teardown?: (world: World) => void | Promise<void>;
  /**
   * How many actors may crash in one schedule: dropped at a step for ever, with no `finally` run. `true` is one.
   * @default false
   */
  readonly crashes?: boolean | number;
  /** What the world notices when an actor crashes, e.g. that its connection closed. */
  readonly onCrash?: (world: World, actor: string) => void | Promise<void>;
  /**
   * How many schedules are tried depth first.
   * @default 2000
   */
  readonly maxSchedules?: number;
  /**
   * How many random ones follow when depth first did not reach the end of the tree.
   * @default 500
   */
  readonly randomSchedules?: number;
  /**
   * Steps after which a schedule is given up (two actors that spin on one another never end).
   * @default 200
   */
  readonly maxSteps?: number;
  /**
   * Turns of the event loop without reaching its next step after which an actor counts as blocked and others go on.
   * @default 10
   */
  readonly blockedAfterTicks?: number;
  /**
   * How long to wait when every actor is blocked before that is called a deadlock. Raise it when steps do real I/O.
   * @default 200
   */
  readonly deadlockAfterMs?: number;
  /** @default `LOCKSTEP_SEED` or a fresh one, which is printed */
  readonly seed?: number;
  /** Runs this one schedule only, as an {@link InvariantViolation} printed it. */
  readonly schedule?: string;
}

export interface ExplorationReport {
  readonly schedules: number;
  /** Whether every interleaving was tried. */
  readonly exhaustive: boolean;
  /** Schedules given up at `maxSteps`; their final invariant was not checked. */
  readonly truncated: number;
  readonly steps: number;
  readonly seed: number;
}
