/** Lease of every contestant: much longer than an operation, so that nobody's heartbeat is in the measurement. */
export const TTL_MS = 10_000;

/** A key of its own for each contestant and worker: nobody waits for anybody. */
export function keyOf(contestant: string, worker: number): string {
  return `bench:${contestant}:${worker}`;
}
