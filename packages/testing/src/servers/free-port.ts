import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 elsewhere). A
// server that restarts on a port of that range may find it taken by a client, and a client that keeps trying to reach
// a stopped server on such a port can end up connected to itself.
const FIRST = 20_000;
const LAST = 32_000;
const ATTEMPTS = 50;

export interface FreePortOptions {
  /**
   * Another port that the server takes at this distance, and which must be free and in the same range.
   * @default 0
   */
  readonly companionAt?: number;
}

/** A port of 127.0.0.1 that was free a moment ago. The caller must be ready to lose it and ask again. */
export async function freePort(options: FreePortOptions = {}): Promise<number> {
  const { companionAt = 0 } = options;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST, LAST - companionAt);
    if ((await isFree(port)) && (companionAt === 0 || (await isFree(port + companionAt)))) return port;
  }
  throw new Error(`No free port found between ${FIRST} and ${LAST} in ${ATTEMPTS} attempts`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
