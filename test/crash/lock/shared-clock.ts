const SAMPLES = 64;
const NS_PER_MS = 1e6;

/**
 * What separates `performance.now()` from the monotonic clock of the machine, which all its processes read alike and
 * which no SIGSTOP halts. The sharpest of several samples: between two readings the process may have to wait for a CPU.
 */
const offsetMs = sharpestOffset();

/** A time of `performance.now()`, by default the present one, on the clock of the machine: milliseconds. */
export function sharedMs(localMs = performance.now()): number {
  return localMs + offsetMs;
}

function sharpestOffset(): number {
  let offset = 0;
  let width = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const before = performance.now();
    const machineMs = Number(process.hrtime.bigint()) / NS_PER_MS;
    const after = performance.now();
    if (after - before >= width) continue;
    width = after - before;
    offset = machineMs - (before + after) / 2;
  }
  return offset;
}
