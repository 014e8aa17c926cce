import { monotonicMs, StoreUnavailableError } from '@lockstep/core';

/** Rejects at `until` (monotonic); what becomes of the work after that is the caller's to follow, if anybody's. */
export async function within<T>(until: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    const late = (): void => reject(new Error('ZooKeeper did not answer in time'));
    timer = setTimeout(late, Math.max(until - monotonicMs(), 0));
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** What the caller is told of an operation that got no answer. */
export function unavailable(
  operation: string,
  cause: unknown,
  outcome: 'not-applied' | 'unknown' = 'unknown',
): StoreUnavailableError {
  if (cause instanceof StoreUnavailableError) return cause;
  return new StoreUnavailableError({ store: 'zookeeper', operation, outcome, cause });
}
