import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

/** What one seed did: how many processes and servers were killed, and each broken invariant in words. */
export interface ChaosOutcome {
  readonly kills: number;
  readonly violations: readonly string[];
}

export interface ChaosArea {
  readonly name: string;
  /** How many seeds run without `--seeds`. */
  readonly defaultSeeds: number;
  /** Runs one seed. All that is random in it must come from the seed, so that a failing one can be run again. */
  runSeed(seed: number): Promise<ChaosOutcome>;
}

interface ChaosReport {
  readonly area: string;
  readonly schedules: number;
  readonly kills: number;
  readonly violations: number;
  /** The first seed that broke an invariant, else the first that ran. */
  readonly seed: number;
}

/** The main function of a chaos program: `[--seeds N] [--seed S] [--json]`; a violation is exit code 1. */
export async function runChaos(area: ChaosArea): Promise<void> {
  const { seeds, firstSeed, json } = chaosArguments(process.argv.slice(2), area.defaultSeeds);
  // With --json the standard output holds the report and nothing else.
  const say = json ? console.error : console.log;
  let kills = 0;
  let violations = 0;
  let failingSeed: number | undefined;
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    const outcome = await area.runSeed(seed);
    kills += outcome.kills;
    violations += outcome.violations.length;
    if (outcome.violations.length > 0) failingSeed ??= seed;
    say(`seed ${seed}: ${outcome.kills} kills, ${outcome.violations.length} violations`);
    for (const violation of outcome.violations) say(`  ${violation}`);
  }
  if (failingSeed !== undefined) say(`Again: npm run chaos -- ${area.name} --seed ${failingSeed}`);
  const report: ChaosReport = { area: area.name, schedules: seeds, kills, violations, seed: failingSeed ?? firstSeed };
  console.log(json ? JSON.stringify(report) : `${seeds} schedules, ${kills} kills, ${violations} violations`);
  process.exitCode = violations === 0 ? 0 : 1;
}

/** `--seed S` alone runs that one seed; with `--seeds N` it is the first of N. Without it the first seed is random. */
export function chaosArguments(
  args: readonly string[],
  defaultSeeds: number,
): { seeds: number; firstSeed: number; json: boolean } {
  const { values } = parseArgs({
    args: [...args],
    options: { seeds: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean', default: false } },
  });
  const seed = values.seed === undefined ? undefined : naturalNumber('--seed', values.seed);
  const seeds = values.seeds === undefined ? undefined : naturalNumber('--seeds', values.seeds);
  return {
    seeds: seeds ?? (seed === undefined ? defaultSeeds : 1),
    firstSeed: seed ?? randomInt(1, 1_000_000),
    json: values.json,
  };
}

function naturalNumber(option: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`${option} takes a whole number from 1, got ${value}`);
  return number;
}
