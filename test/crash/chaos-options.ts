import { parseArgs } from 'node:util';
import { seed as freshSeed } from '@lockstep/testing';

export interface ChaosOptions {
  readonly seeds: number;
  /** Seed of the first round; the following ones count up from it. */
  readonly seed: number;
  readonly json: boolean;
}

/** What `npm run chaos -- AREA` understands: `--seeds N`, `--seed S`, `--json`; the script refuses all else. */
export function chaosOptions(args: readonly string[], defaultSeeds: number): ChaosOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { seeds: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean', default: false } },
  });
  return {
    seeds: wholeNumber('--seeds', values.seeds) ?? defaultSeeds,
    seed: wholeNumber('--seed', values.seed) ?? freshSeed(),
    json: values.json,
  };
}

function wholeNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${flag} needs a whole number, not ${text}`);
  return value;
}
