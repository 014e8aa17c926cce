import { randomInt } from 'node:crypto';

/** A reproducible source of numbers. */
export interface SeededRandom {
  readonly seed: number;
  /** From 0 (inclusive) to 1 (exclusive). */
  next(): number;
  /** A whole number from `min` (inclusive) to `max` (exclusive). */
  integer(min: number, max: number): number;
  /** One of the items; throws when there is none. */
  pick<T>(items: readonly T[]): T;
  /** A new array in random order. */
  shuffle<T>(items: readonly T[]): T[];
}

const SEED_LIMIT = 2 ** 31;
let seedOfRun: number | undefined;

/**
 * The seed of this process: `LOCKSTEP_SEED`, or a fresh one. Printed once to standard error, so that whatever fails
 * later can be run again.
 */
export function seed(): number {
  if (seedOfRun === undefined) {
    const given = process.env.LOCKSTEP_SEED;
    seedOfRun = given === undefined || given === '' ? randomInt(SEED_LIMIT) : parseSeed(given);
    process.stderr.write(`LOCKSTEP_SEED=${seedOfRun}\n`);
  }
  return seedOfRun;
}

/** Mulberry32 (Tommy Ettinger): 32 bits of state, passes the usual small batteries, the same on every machine. */
export function seededRandom(seedValue: number): SeededRandom {
  let state = seedValue >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (min: number, max: number): number => min + Math.floor(next() * (max - min));
  return {
    seed: seedValue,
    next,
    integer,
    pick: (items) => pick(items, integer),
    shuffle: (items) => shuffle(items, integer),
  };
}

type Integer = SeededRandom['integer'];

function pick<T>(items: readonly T[], integer: Integer): T {
  if (items.length === 0) throw new RangeError('There is nothing to pick from');
  return items[integer(0, items.length)] as T;
}

function shuffle<T>(items: readonly T[], integer: Integer): T[] {
  const shuffled = [...items];
  for (let index = shuffled.length - 1; index > 0; index -= 1) {
    const other = integer(0, index + 1);
    [shuffled[index], shuffled[other]] = [shuffled[other] as T, shuffled[index] as T];
  }
  return shuffled;
}

function parseSeed(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`LOCKSTEP_SEED is no whole number: ${text}`);
  return value;
}
