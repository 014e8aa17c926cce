import { type Contestant, closedLoop } from '../harness/contestant.js';

/** A lock library as one client of it uses it, with connections of its own. */
export interface Locker {
  /** Runs `work` under the lock. Rejects when the lock cannot be had. */
  hold(key: string, work: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

export interface LockLibrary {
  readonly name: string;
  /** See {@link Contestant}. */
  readonly group?: string;
  /**
   * @param urls one server, or the independent ones of a quorum
   * @param patienceMs for libraries that can be told how long to wait; the others try again without end, at the pace
   *   that they have by default. Left out where every lock is free.
   */
  open(urls: readonly string[], patienceMs?: number): Promise<Locker>;
}

/** Lease of every contestant: much longer than an operation, so that nobody's heartbeat is in the measurement. */
export const TTL_MS = 10_000;

/** A key of its own for each contestant and worker. */
export function keyOf(contestant: string, worker: number): string {
  return `bench:${contestant}:${worker}`;
}

/** Acquires and releases free locks, so many at a time: nobody waits for anybody. */
export function uncontended(library: LockLibrary, urls: readonly string[], concurrency: number): Contestant {
  const { name } = library;
  const work = async (): Promise<void> => undefined;
  return {
    ...library,
    open: async () => {
      const locker = await library.open(urls);
      const operation = (worker: number): Promise<void> => locker.hold(keyOf(name, worker), work);
      return { run: (sliceMs) => closedLoop(concurrency, sliceMs, operation), close: () => locker.close() };
    },
  };
}
