/** A job's place in the lanes of its keys. */
export interface LanePlace {
  /** Resolves when every earlier job of this process has answered for its messages of `key`. */
  turnOf(key: string): Promise<void> | undefined;
  leave(): void;
}

/**
 * Keeps the order of each key among the jobs that one process runs at a time: a lane a key, entered in the order in
 * which the jobs were taken from the queue.
 */
export class KeyLanes {
  private readonly lastOf = new Map<string, Promise<void>>();

  enter(keys: ReadonlySet<string>): LanePlace {
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const ahead = new Map<string, Promise<void>>();
    for (const key of keys) {
      const last = this.lastOf.get(key);
      if (last) ahead.set(key, last);
      this.lastOf.set(key, finished);
    }
    return {
      turnOf: (key) => ahead.get(key),
      leave: () => {
        for (const key of keys) if (this.lastOf.get(key) === finished) this.lastOf.delete(key);
        finish();
      },
    };
  }
}
