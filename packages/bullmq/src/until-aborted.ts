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
