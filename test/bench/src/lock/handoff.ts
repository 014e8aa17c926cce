import { setTimeout as pause } from 'node:timers/promises';
import type { Contestant, Slice } from '../harness/contestant.js';
import { keyOf, type Locker, type LockLibrary } from './locker.js';

/** Many clients that want the same lock again and again, each with its own connection and instance of the library. */
export interface HandoffLoad {
  readonly clients: number;
  /** A client pauses so long before it asks again: anything between the two. */
  readonly thinkMs: readonly [number, number];
  readonly holdMs: number;
}

const PATIENCE_MS = 30_000;

/** Hand-offs a second; the latencies are those of waiting for the lock. */
export function handoff(
  library: LockLibrary,
  url: string,
  load: HandoffLoad,
  prepare: (key: string) => Promise<void> = async () => undefined,
): Contestant {
  const key = keyOf(`handoff:${library.name}`, 0);
  return {
    ...library,
    open: async () => {
      await prepare(key);
      const opening = Array.from({ length: load.clients }, () => library.open([url], PATIENCE_MS));
      const lockers = await Promise.all(opening);
      return {
        run: (sliceMs) => handAround(lockers, key, sliceMs, load),
        close: async () => {
          await Promise.all(lockers.map((locker) => locker.close()));
        },
      };
    },
  };
}

/** What is asked for within the slice is waited for, but only what was granted within it counts as an operation. */
async function handAround(
  lockers: readonly Locker[],
  key: string,
  sliceMs: number,
  { thinkMs: [shortest, longest], holdMs }: HandoffLoad,
): Promise<Slice> {
  const latenciesMs: number[] = [];
  const shares: number[] = lockers.map(() => 0);
  const endsAt = performance.now() + sliceMs;
  let holders = 0;
  const live = async (locker: Locker, client: number): Promise<void> => {
    for (;;) {
      await pause(shortest + Math.random() * (longest - shortest));
      const askedAt = performance.now();
      if (askedAt >= endsAt) return;
      await locker.hold(key, async () => {
        const grantedAt = performance.now();
        latenciesMs.push(grantedAt - askedAt);
        if (grantedAt < endsAt) shares[client] = (shares[client] ?? 0) + 1;
        holders += 1;
        if (holders > 1) throw new Error(`${holders} holders at once`);
        await pause(holdMs);
        holders -= 1;
      });
    }
  };
  await Promise.all(lockers.map(live));
  return { operations: shares.reduce((sum, share) => sum + share, 0), elapsedMs: sliceMs, latenciesMs, shares };
}
