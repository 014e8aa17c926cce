import { seededRandom, seed as seedOfRun } from '../random.js';
import type { Exploration, ExplorationReport } from './explorer.types.js';
import { type Chooser, choiceText, ScheduleRun } from './schedule-run.js';

interface Totals {
  schedules: number;
  steps: number;
  truncated: number;
}

const NOT_REPEATABLE =
  'The model behaves differently when the same schedule is repeated: it uses a clock, a random number or real I/O';

/**
 * Runs a small concurrent model through all its interleavings, depth first, each from a fresh world; when there are
 * more than `maxSchedules`, through `randomSchedules` random ones besides. Exact for models whose steps only touch
 * memory: an interleaving is then decided by the schedule alone.
 * @throws InvariantViolation at the first schedule that breaks an invariant, fails or deadlocks
 */
export async function explore<World>(model: Exploration<World>): Promise<ExplorationReport> {
  const seed = model.seed ?? seedOfRun();
  const totals: Totals = { schedules: 0, steps: 0, truncated: 0 };
  const run = async (choose: Chooser): Promise<void> => {
    const outcome = await new ScheduleRun(model, seed, choose).run();
    totals.schedules += 1;
    totals.steps += outcome.steps;
    totals.truncated += Number(outcome.truncated);
  };
  if (model.schedule !== undefined) {
    await run(replaying(model.schedule));
    return { ...totals, exhaustive: false, seed };
  }
  const exhaustive = await depthFirst(model.maxSchedules ?? 2000, run);
  if (!exhaustive) await atRandom(model.randomSchedules ?? 500, seed, run);
  return { ...totals, exhaustive: exhaustive && totals.truncated === 0, seed };
}

type Run = (choose: Chooser) => Promise<void>;

/** The next schedule repeats the last one up to its deepest step that has an untried alternative, and takes that. */
async function depthFirst(limit: number, run: Run): Promise<boolean> {
  let prefix: number[] = [];
  for (let count = 0; count < limit; count += 1) {
    const taken: Array<{ index: number; of: number }> = [];
    await run((choices, depth) => {
      const index = prefix[depth] ?? 0;
      if (index >= choices.length) throw new RangeError(`${NOT_REPEATABLE} (step ${depth + 1})`);
      taken.push({ index, of: choices.length });
      return choices[index];
    });
    const deepest = taken.findLastIndex(({ index, of }) => index + 1 < of);
    if (deepest < 0) return true;
    prefix = taken.slice(0, deepest + 1).map(({ index }, depth) => (depth === deepest ? index + 1 : index));
  }
  return false;
}

async function atRandom(count: number, seed: number, run: Run): Promise<void> {
  const random = seededRandom(seed);
  for (let index = 0; index < count; index += 1) await run((choices) => random.pick(choices));
}

function replaying(schedule: string): Chooser {
  const wanted = schedule.split(' ').filter((text) => text !== '');
  return (choices, depth) => {
    const text = wanted[depth];
    if (text === undefined) return undefined;
    const choice = choices.find((candidate) => choiceText(candidate) === text);
    if (choice !== undefined) return choice;
    const possible = choices.map(choiceText).join(', ');
    throw new RangeError(`The schedule wants ${text} at step ${depth + 1}, but possible is ${possible}`);
  };
}
