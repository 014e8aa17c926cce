/**
 * Milliseconds of a clock that never steps: the only clock for local deadlines. Take it before a request is sent, so
 * that the time on the wire counts against the lease and not for it.
 */
export function monotonicMs(): number {
  return performance.now();
}
