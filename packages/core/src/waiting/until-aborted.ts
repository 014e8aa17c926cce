import { setTimeout as sleep } from 'node:timers/promises';

/** What `work` settles to, or `instead()` once the signal aborts; `work` is then left to itself. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal, instead: () => T): Promise<T> {
  let stopWaiting: () => void = () => undefined;
  const aborted = new Promise<void>((resolve) => {
    stopWaiting = resolve;
    signal.addEventListener('abort', stopWaiting, { once: true });
  });
  try {
    if (signal.aborted) stopWaiting();
    return await Promise.race([work, aborted.then(instead)]);
  } finally {
    signal.removeEventListener('abort', stopWaiting);
  }
}

/** Resolves to true after `ms`, or at once to false when the signal aborts. */
export async function rested(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  return untilAborted(sleep(ms, true, { ref: false }), signal, () => false);
}
