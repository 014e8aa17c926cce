import { monotonicMs } from '@lockstep/core';

/** A step of the store that takes so long may not be done in time the next time. */
const SLOW_MS = 250;

/**
 * Whether a step of the store is given the time of a statement and not that of a command: once it failed or was slow, until
 * it is quick again. Behind what a transaction elsewhere keeps from being removed it is late then, and does not stop.
 */
export class Patience {
  private isNeeded = false;

  async with<T>(step: (patient: boolean) => Promise<T>): Promise<T> {
    const startedAtMs = monotonicMs();
    const patient = this.isNeeded;
    this.isNeeded = true;
    const result = await step(patient);
    this.isNeeded = monotonicMs() - startedAtMs > SLOW_MS;
    return result;
  }
}
