import { monotonicMs } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { expect } from 'vitest';

/** Nothing of this process runs meanwhile, no timer either. */
export function blockEventLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

export async function passed(ms: number): Promise<void> {
  const until = monotonicMs() + ms;
  await eventually(() => expect(monotonicMs()).toBeGreaterThan(until), { intervalMs: 5 });
}
