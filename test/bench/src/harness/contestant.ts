/** Who takes part in a row: ours, the raw limit or a peer. Opened once, then asked for many short slices of work. */
export interface Contestant {
  readonly name: string;
  /** Peers of one group are compared on their own too: with `Ioredis` the row has `extra.ratioToBestIoredisPeer`. */
  readonly group?: string;
  open(): Promise<Bench>;
}

export interface Bench {
  /** Works for about `sliceMs` and says what was done. Preparation that is not measured belongs before `elapsedMs`. */
  run(sliceMs: number): Promise<Slice>;
  close(): Promise<void>;
}

export interface Slice {
  readonly operations: number;
  readonly elapsedMs: number;
  /** Duration of single operations, where the row reports p50 and p99. */
  readonly latenciesMs?: readonly number[];
  /** What each of several clients got of the operations; the row reports how evenly, as `fairness`. */
  readonly shares?: readonly number[];
  /** Sums over the slice, e.g. `{ walBytes: 81920 }`; the row reports them per operation. */
  readonly sums?: Readonly<Record<string, number>>;
}

/** Calls `operation` again and again with `concurrency` in flight until the slice is over, then lets those in flight end. */
export async function closedLoop(
  concurrency: number,
  sliceMs: number,
  operation: (worker: number) => Promise<void>,
): Promise<Slice> {
  const latenciesMs: number[] = [];
  const startedAt = performance.now();
  const endsAt = startedAt + sliceMs;
  const work = async (worker: number): Promise<void> => {
    for (let before = performance.now(); before < endsAt; ) {
      await operation(worker);
      const after = performance.now();
      latenciesMs.push(after - before);
      before = after;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, worker) => work(worker)));
  return { operations: latenciesMs.length, elapsedMs: performance.now() - startedAt, latenciesMs };
}
