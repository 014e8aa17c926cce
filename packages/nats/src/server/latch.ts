interface Waiting<Value> {
  readonly promise: Promise<Value>;
  readonly resolve: (value: Value) => void;
  readonly reject: (reason: Error) => void;
}

/** Holds a value while a server can be reached. Waiting for it never polls: resolves with it, rejects once destroyed. */
export class Latch<Value> {
  private waiting = newWaiting<Value>();
  private current: Value | undefined;
  private destroyed = false;
  private tellShut: () => void = () => undefined;
  private shut = Promise.resolve();

  get value(): Value | undefined {
    return this.current;
  }

  whenOpen(): Promise<Value> {
    return this.waiting.promise;
  }

  /** Resolves when it shuts; at once while it is shut. */
  whenShut(): Promise<void> {
    return this.shut;
  }

  setOpen(value: Value): void {
    if (this.destroyed) return;
    if (this.current === undefined) {
      this.shut = new Promise((resolve) => {
        this.tellShut = resolve;
      });
    }
    this.current = value;
    this.waiting.resolve(value);
  }

  setShut(): void {
    if (this.current === undefined) return;
    this.current = undefined;
    this.waiting = newWaiting();
    this.tellShut();
  }

  destroy(reason: Error): void {
    this.setShut();
    this.destroyed = true;
    this.waiting.reject(reason);
  }
}

function newWaiting<Value>(): Waiting<Value> {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (reason: Error) => void = () => undefined;
  const promise = new Promise<Value>((onOpen, onDestroyed) => {
    resolve = onOpen;
    reject = onDestroyed;
  });
  // Whoever waits hears of the rejection; that nobody does at the moment must not end the process.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
