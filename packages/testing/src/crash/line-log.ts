import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Something happened that a waiter may be waiting for. */
export type Wake = () => void;

/** Collects what streams write, line by line, in the order of arrival. */
export function collectLines(streams: readonly Readable[], lines: string[], wake: Wake): void {
  for (const stream of streams) {
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      lines.push(line);
      wake();
    });
  }
}
