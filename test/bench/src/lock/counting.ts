import { redisCommandCounter } from '@lockstep/testing';
import type { Contestant } from '../harness/contestant.js';

/** Top-level commands at the server for each operation of a contestant, counted over one slice that nobody measures. */
export async function commandsPerOperation(url: string, contestant: Contestant, sliceMs: number): Promise<number> {
  const bench = await withRequests(contestant, url).open();
  try {
    await bench.run(sliceMs); // connects, loads the scripts
    const { latenciesMs = [], sums } = await bench.run(sliceMs);
    return (sums?.requests ?? 0) / latenciesMs.length;
  } finally {
    await bench.close();
  }
}

/** The contestant with the commands of each slice counted while it runs: `extra.requests`, for each operation. */
export function withRequests(contestant: Contestant, url: string): Contestant {
  return {
    ...contestant,
    open: async () => {
      const bench = await contestant.open();
      const counter = await redisCommandCounter(url);
      return {
        run: async (sliceMs) => {
          await counter.reset();
          const slice = await bench.run(sliceMs);
          return { ...slice, sums: { ...slice.sums, requests: (await counter.commands()).length } };
        },
        close: async () => {
          counter.stop();
          await bench.close();
        },
      };
    },
  };
}
