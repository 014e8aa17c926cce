import { setTimeout as sleep, setImmediate as tick } from 'node:timers/promises';
import { ActorRun } from './actor-run.js';
import type { Exploration } from './explorer.types.js';
import { InvariantViolation } from './invariant-violation.js';

const DEADLOCK_POLL_MS = 1;

/** Something that can happen next: an actor goes on, or crashes where it is parked. */
export interface Choice {
  readonly actor: ActorRun;
  readonly crash: boolean;
}

/** Picks the next one of at least one choice, `undefined` to give the schedule up. */
export type Chooser = (choices: readonly Choice[], depth: number) => Choice | undefined;

export interface ScheduleOutcome {
  readonly steps: number;
  readonly truncated: boolean;
}

/** Runs one schedule in a fresh world. */
export class ScheduleRun<World> {
  private readonly taken: string[] = [];
  private readonly trace: string[] = [];
  private crashesLeft: number;
  private actors: ActorRun[] = [];

  constructor(
    private readonly model: Exploration<World>,
    private readonly seed: number,
    private readonly choose: Chooser,
  ) {
    this.crashesLeft = Number(model.crashes ?? 0);
  }

  async run(): Promise<ScheduleOutcome> {
    const world = await this.model.setup();
    try {
      this.actors = Object.entries(this.model.actors(world)).map(([name, actor]) => new ActorRun(name, actor));
      const truncated = await this.play(world);
      if (!truncated) await this.check('the final invariant', this.model.finalInvariant, world);
      return { steps: this.taken.length, truncated };
    } finally {
      await this.model.teardown?.(world);
    }
  }

  private async play(world: World): Promise<boolean> {
    const maxSteps = this.model.maxSteps ?? 200;
    for (let choices = await this.choices(); choices.length > 0; choices = await this.choices()) {
      const choice = this.taken.length < maxSteps ? this.choose(choices, this.taken.length) : undefined;
      if (choice === undefined) return true;
      await this.take(choice, world);
      await this.check('the invariant', this.model.invariant, world);
    }
    return false;
  }

  /** What can happen now. When all that live are blocked, waits for I/O to free one, and calls it a deadlock if not. */
  private async choices(): Promise<Choice[]> {
    const deadline = performance.now() + (this.model.deadlockAfterMs ?? 200);
    for (;;) {
      const failed = this.actors.find((actor) => actor.state === 'failed');
      if (failed !== undefined)
        throw this.violation(`${failed.name} failed: ${String(failed.failure)}`, failed.failure);
      const parked = this.actors.filter((actor) => actor.state === 'parked');
      if (parked.length > 0) return this.withCrashes(parked);
      const blocked = this.actors.filter((actor) => actor.state === 'running');
      if (blocked.length === 0) return [];
      if (performance.now() > deadline) throw this.violation(`deadlock: ${names(blocked)} blocked for ever`);
      await sleep(DEADLOCK_POLL_MS);
    }
  }

  private withCrashes(parked: readonly ActorRun[]): Choice[] {
    const steps = parked.map((actor) => ({ actor, crash: false }));
    if (this.crashesLeft === 0) return steps;
    // An actor that crashes before its first instruction is an actor that is not there: no new case.
    const crashes = parked.filter((actor) => actor.hasBegun).map((actor) => ({ actor, crash: true }));
    return [...steps, ...crashes];
  }

  private async take({ actor, crash }: Choice, world: World): Promise<void> {
    this.taken.push(choiceText({ actor, crash }));
    this.trace.push(`${crash ? 'CRASH ' : ''}${actor.name}: ${actor.label}`);
    if (crash) {
      this.crashesLeft -= 1;
      actor.crash();
      await this.model.onCrash?.(world, actor.name);
      await tick();
      return;
    }
    actor.go();
    const ticks = this.model.blockedAfterTicks ?? 10;
    for (let count = 0; count < ticks && actor.state === 'running'; count += 1) await tick();
    await tick(); // those that this step has freed reach their own next step
  }

  private async check(what: string, invariant: Exploration<World>['invariant'], world: World): Promise<void> {
    try {
      if ((await invariant?.(world)) !== false) return;
    } catch (error) {
      throw this.violation(`${what} does not hold: ${error instanceof Error ? error.message : String(error)}`, error);
    }
    throw this.violation(`${what} does not hold`);
  }

  private violation(what: string, cause?: unknown): InvariantViolation {
    const context = { name: this.model.name, schedule: this.taken.join(' '), trace: this.trace, seed: this.seed };
    return new InvariantViolation(context, what, cause);
  }
}

/** `a` lets actor `a` go on, `!a` crashes it. */
export function choiceText({ actor, crash }: Choice): string {
  return crash ? `!${actor.name}` : actor.name;
}

function names(actors: readonly ActorRun[]): string {
  return actors.map((actor) => `${actor.name} (after ${actor.label})`).join(', ');
}
