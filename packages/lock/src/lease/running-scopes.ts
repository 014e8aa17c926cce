/** The guarded calls that run: a shutdown lets them finish before it takes their locks away. */
export class RunningScopes {
  private readonly ends = new Set<Promise<void>>();

  /** Returns what is to be called, once, at the end of the call. */
  enter(): () => void {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.ends.add(ended);
    return () => {
      this.ends.delete(ended);
      end();
    };
  }

  /** Waits for those that run now, not for those that come after: under load there is always one. */
  async finish(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([Promise.all(this.ends), aborted]);
  }
}
