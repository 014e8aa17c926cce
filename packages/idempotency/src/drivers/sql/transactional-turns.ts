import { monotonicMs } from '@lockstep/core';

/** An operation that is under way in this process. */
interface Turn<Outcome> {
  readonly fingerprint: string;
  /** What it leaves for those who wait; undefined: the next one has to find out. Never rejects. */
  readonly left: Promise<Outcome | undefined>;
}

export interface TurnRequest<T, Outcome> {
  readonly id: string;
  readonly fingerprint: string;
  /** Monotonic milliseconds until which to wait for others. */
  readonly until: number;
  /** Ends the wait for others. */
  readonly signal?: AbortSignal | undefined;
  /** Called at once where nobody is at it. */
  readonly lead: () => Promise<T>;
  /** What those who wait may have of the leader's result. */
  readonly leave: (result: T) => Outcome | undefined;
}

/**
 * The operations that this process has under way, one leader each. Duplicates wait here, without a connection: five of
 * them in a pool of five would leave none for the leader.
 *
 * ```
 * free --take--> led --leader ends with an outcome--> free, and all who wait have it
 *                led --leader ends without one--> free, and the first who waits leads
 * ```
 */
export class TransactionalTurns<Outcome> {
  private readonly turns = new Map<string, Turn<Outcome>>();

  /** The caller's own result where it led, else what the leader left for it. Rejects only with what `lead` threw. */
  async take<T>(request: TurnRequest<T, Outcome>): Promise<T | Outcome | 'other-payload' | 'late'> {
    for (;;) {
      const turn = this.turns.get(request.id);
      // Without a pause in between: whoever else wakes up in this tick finds the new leader.
      if (!turn) return this.lead(request);
      // What the leader was sent is known here, also while its transaction is open.
      if (turn.fingerprint !== request.fingerprint) return 'other-payload';
      const outcome = await unlessLate(turn.left, request);
      if (outcome !== undefined) return outcome;
    }
  }

  private lead<T>({ id, fingerprint, lead, leave }: TurnRequest<T, Outcome>): Promise<T> {
    const running = lead();
    const end = (outcome: Outcome | undefined): Outcome | undefined => {
      this.turns.delete(id);
      return outcome;
    };
    const left = running.then(
      (result) => end(leave(result)),
      // The leader's own caller hears why.
      () => end(undefined),
    );
    this.turns.set(id, { fingerprint, left });
    return running;
  }
}

async function unlessLate<T>(
  promise: Promise<T>,
  { until, signal }: Pick<TurnRequest<unknown, unknown>, 'until' | 'signal'>,
): Promise<T | 'late'> {
  const leftMs = until - monotonicMs();
  if (leftMs <= 0 || signal?.aborted) return 'late';
  let giveUp = (): void => undefined;
  const late = new Promise<'late'>((resolve) => {
    giveUp = () => resolve('late');
  });
  const timer = setTimeout(giveUp, leftMs);
  signal?.addEventListener('abort', giveUp);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}
