import { setTimeout as sleep } from 'node:timers/promises';

export interface EventuallyOptions {
  /** @default 5000 */
  readonly timeoutMs?: number;
  /**
   * Pause between two tries.
   * @default 20
   */
  readonly intervalMs?: number;
  /** Said first when the time is over. */
  readonly message?: string;
}

/** The assertion never held within the time; `cause` is its last failure. */
export class EventuallyTimeoutError extends Error {
  override readonly name = 'EventuallyTimeoutError';
}

/**
 * Repeats the assertion until it neither throws nor rejects, and returns what it returned. One try always runs, and one
 * that hangs is given up at the deadline.
 * @throws EventuallyTimeoutError with the last failure and the time that went by
 */
export async function eventually<T>(assertion: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeoutMs = 5000, intervalMs = 20, message } = options;
  const startedAt = performance.now();
  for (;;) {
    const remainingMs = Math.max(timeoutMs - (performance.now() - startedAt), 1);
    const attempt = await settle(assertion, remainingMs);
    if (attempt.ok) return attempt.value;
    const elapsedMs = performance.now() - startedAt;
    if (elapsedMs + intervalMs >= timeoutMs) throw timeoutError(attempt.error, elapsedMs, message);
    await sleep(intervalMs);
  }
}

type Outcome<T> = { ok: true; value: T } | { ok: false; error: unknown };

async function settle<T>(assertion: () => T | Promise<T>, timeoutMs: number): Promise<Outcome<T>> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`The assertion itself did not end within ${Math.round(timeoutMs)} ms`)),
      timeoutMs,
    );
  });
  try {
    // `async` also turns a synchronous throw into a rejection.
    const attempt = (async () => assertion())();
    return { ok: true, value: await Promise.race([attempt, hang]) };
  } catch (error) {
    return { ok: false, error };
  } finally {
    clearTimeout(timer);
  }
}

function timeoutError(cause: unknown, elapsedMs: number, message: string | undefined): EventuallyTimeoutError {
  const last = cause instanceof Error ? cause.message : String(cause);
  const what = message === undefined ? '' : `${message}: `;
  return new EventuallyTimeoutError(`${what}not so within ${Math.round(elapsedMs)} ms; last failure: ${last}`, {
    cause,
  });
}
