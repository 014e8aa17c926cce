interface Waiting {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

/** Open while a server answers. Waiting for it never polls: resolves when it opens, rejects once it is destroyed. */
export class Latch {
  private waiting = newWaiting();
  private open = false;
  private destroyed = false;

  get isOpen(): boolean {
    return this.open;
  }

  whenOpen(): Promise<void> {
    return this.waiting.promise;
  }

  setOpen(): void {
    if (this.destroyed) return;
    this.open = true;
    this.waiting.resolve();
  }

  setShut(): void {
    if (!this.open) return;
    this.open = false;
    this.waiting = newWaiting();
  }

  destroy(reason: Error): void {
    this.setShut();
    this.destroyed = true;
    this.waiting.reject(reason);
  }
}

function newWaiting(): Waiting {
  let resolve: () => void = () => undefined;
  let reject: (reason: Error) => void = () => undefined;
  const promise = new Promise<void>((onOpen, onDestroyed) => {
    resolve = onOpen;
    reject = onDestroyed;
  });
  // Whoever waits hears of the rejection; that nobody does at the moment must not end the process.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
