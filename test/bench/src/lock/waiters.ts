import { setTimeout as pause } from 'node:timers/promises';
import type { Contestant, Slice } from '../harness/contestant.js';
import { keyOf, type Locker, type LockLibrary } from './locker.js';

export interface WaitersLoad {
  readonly waiters: number;
  readonly holdMs: number;
}

const PATIENCE_MS = 30_000;

/**
 * So many callers of one process want one lock at the same moment, and each holds it for a while. An operation is over
 * when all have had it; its latency is the row's figure.
 */
export function waiters(library: LockLibrary, url: string, load: WaitersLoad): Contestant {
  const key = keyOf(`waiters:${library.name}`, 0);
  return {
    ...library,
    open: async () => {
      const locker = await library.open([url], PATIENCE_MS);
      return { run: (sliceMs) => serveAll(locker, key, sliceMs, load), close: () => locker.close() };
    },
  };
}

/** Who loses no time between one holder and the next. */
export function ideal({ waiters: count, holdMs }: WaitersLoad): Contestant {
  const run = async (): Promise<Slice> => ({ operations: 1, elapsedMs: count * holdMs });
  return { name: 'raw', open: async () => ({ run, close: async () => undefined }) };
}

async function serveAll(locker: Locker, key: string, sliceMs: number, load: WaitersLoad): Promise<Slice> {
  const latenciesMs: number[] = [];
  const startedAt = performance.now();
  const endsAt = startedAt + sliceMs;
  for (let before = startedAt; before < endsAt; ) {
    await Promise.all(Array.from({ length: load.waiters }, () => locker.hold(key, () => pause(load.holdMs))));
    const after = performance.now();
    latenciesMs.push(after - before);
    before = after;
  }
  return { operations: latenciesMs.length, elapsedMs: performance.now() - startedAt, latenciesMs };
}
