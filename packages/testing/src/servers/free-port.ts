import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 elsewhere). A
// server that restarts on a port of that range may find it taken by a client, and a client that keeps trying to reach
// a stopped server on such a port can end up connected to itself.
const FIRST = 20_000;
const LAST = 32_000;
const ATTEMPTS = 50;

/** A port of 127.0.0.1 that was free a moment ago. The caller must be ready to lose it and ask again. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST, LAST);
    if (await isFree(port)) return port;
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
