import { setTimeout as sleep } from 'node:timers/promises';
import { type SeededRandom, seededRandom } from '@lockstep/testing';
import { type Fault, FREEZE_IN_THOUGHT, NETWORK_FAULTS, PROCESS_FAULTS, SERVER_FAULTS, type Target } from './faults.js';
import type { Weather } from './weather.js';

const PAUSE_MS: readonly [number, number] = [200, 1_200];

/**
 * Strikes processes, the server and the network side by side for so long, and takes every fault back. The first fault
 * is alone, and one that a register without a fence does not survive.
 */
export async function rage(target: Target, weather: Weather, seed: number, durationMs: number): Promise<void> {
  const until = performance.now() + durationMs;
  const kinds = [PROCESS_FAULTS, SERVER_FAULTS, NETWORK_FAULTS];
  // A sequence of its own for each: how long a fault takes must not change what the others draw.
  const first = FREEZE_IN_THOUGHT;
  await weather.note(first.name, () => first.strike(target, seededRandom(seed), weather));
  await Promise.all(
    kinds.map(async (faults, index) => {
      const random = seededRandom(seed + index + 1);
      while (performance.now() < until) {
        await sleep(random.integer(...PAUSE_MS));
        const fault = draw(faults, random);
        await weather.note(fault.name, () => fault.strike(target, random, weather));
      }
    }),
  );
}

function draw(faults: readonly Fault[], random: SeededRandom): Fault {
  return random.pick(faults.flatMap((fault) => Array.from({ length: fault.weight }, () => fault)));
}
