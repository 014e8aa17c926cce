import type { Bench, Contestant, Slice } from './contestant.js';

export interface RoundsOptions {
  readonly rounds: number;
  readonly sliceMs: number;
  /** Runs before each slice, e.g. waits until the machine is idle. */
  readonly gate: () => Promise<unknown>;
  /** From 0 (included) to 1; decides the order within a round. */
  readonly random: () => number;
}

/** What one contestant did, one slice a round; `failure` when it had to leave the contest. */
export interface Performance {
  readonly slices: readonly Slice[];
  readonly failure: string | undefined;
}

interface Entrant {
  readonly name: string;
  readonly slices: Slice[];
  bench: Bench | undefined;
  failure: string | undefined;
}

/**
 * Lets all contestants work in turn, in a new random order each round, so that what disturbs the machine for a while
 * disturbs all of them. The first slice of each is thrown away: it compiles and connects.
 * A contestant that fails leaves the contest with its reason; the others go on.
 */
export async function runRounds(
  contestants: readonly Contestant[],
  options: RoundsOptions,
): Promise<Map<string, Performance>> {
  const entrants: Entrant[] = contestants.map(({ name }) => ({
    name,
    slices: [],
    bench: undefined,
    failure: undefined,
  }));
  try {
    for (const [index, entrant] of entrants.entries()) await enter(entrant, contestants[index], options.sliceMs);
    for (let round = 0; round < options.rounds; round += 1) {
      for (const entrant of shuffled(entrants, options.random)) await runSlice(entrant, options);
    }
  } finally {
    for (const entrant of entrants) await leave(entrant);
  }
  return new Map(entrants.map(({ name, slices, failure }) => [name, { slices, failure }]));
}

async function enter(entrant: Entrant, contestant: Contestant | undefined, sliceMs: number): Promise<void> {
  await attempt(entrant, async () => {
    entrant.bench = await contestant?.open();
    await entrant.bench?.run(sliceMs);
  });
}

async function runSlice(entrant: Entrant, { sliceMs, gate }: RoundsOptions): Promise<void> {
  const { bench } = entrant;
  if (entrant.failure !== undefined || bench === undefined) return;
  await gate();
  await attempt(entrant, async () => {
    entrant.slices.push(await bench.run(sliceMs));
  });
}

async function leave(entrant: Entrant): Promise<void> {
  const { bench } = entrant;
  if (bench !== undefined) await attempt(entrant, () => bench.close());
}

async function attempt(entrant: Entrant, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    entrant.failure ??= error instanceof Error ? error.message : String(error);
  }
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  const order: T[] = [];
  while (left.length > 0) order.push(...left.splice(Math.floor(random() * left.length), 1));
  return order;
}
