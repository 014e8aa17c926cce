import { cpus } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

export interface IdleGateOptions {
  /**
   * Part of all cores that must be idle, 0 to 1.
   * @default 0.65
   */
  readonly idle?: number;
  /**
   * Longest wait; then the slice runs on a busy machine.
   * @default 3000
   */
  readonly timeoutMs?: number;
  /** Reads the CPU times; replaced in tests. */
  readonly read?: () => CpuTimes;
  readonly sampleMs?: number;
}

export interface CpuTimes {
  readonly idle: number;
  readonly total: number;
}

/** Waits, bounded, until the machine is idle enough to be measured on. False: it never was. */
export async function waitUntilIdle(options: IdleGateOptions = {}): Promise<boolean> {
  const { idle = 0.65, timeoutMs = 3000, read = cpuTimes, sampleMs = 60 } = options;
  const endsAt = performance.now() + timeoutMs;
  let before = read();
  while (performance.now() < endsAt) {
    await pause(sampleMs);
    const after = read();
    if (after.total > before.total && (after.idle - before.idle) / (after.total - before.total) >= idle) return true;
    before = after;
  }
  return false;
}

function cpuTimes(): CpuTimes {
  let idle = 0;
  let total = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}
