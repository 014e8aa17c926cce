import { seed as freshSeed } from '@lockstep/testing';

export interface ChaosOptions {
  readonly seeds: number;
  /** Seed of the first round; the following ones count up from it. */
  readonly seed: number;
  readonly json: boolean;
}

/** What `npm run chaos -- AREA` understands: `--seeds N`, `--seed S`, `--json`. */
export function chaosOptions(args: readonly string[], defaultSeeds: number): ChaosOptions {
  return {
    seeds: numberAfter(args, '--seeds') ?? defaultSeeds,
    seed: numberAfter(args, '--seed') ?? freshSeed(),
    json: args.includes('--json'),
  };
}

function numberAfter(args: readonly string[], flag: string): number | undefined {
  const at = args.indexOf(flag);
  if (at < 0) return undefined;
  const value = Number(args[at + 1]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${flag} needs a whole number, not ${args[at + 1]}`);
  return value;
}
