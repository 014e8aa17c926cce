import { monotonicMs } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { expect } from 'vitest';

/** So much time has gone by, by the clock that the code under test measures with. */
export async function passed(ms: number): Promise<void> {
  const until = monotonicMs() + ms;
  await eventually(() => expect(monotonicMs()).toBeGreaterThan(until), { intervalMs: 5 });
}
