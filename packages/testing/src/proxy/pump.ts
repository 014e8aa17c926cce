import type { Socket } from 'node:net';

export type Direction = 'toServer' | 'toClient';

interface Parcel {
  /** Undefined is the end of the stream (FIN). */
  readonly chunk: Buffer | undefined;
  readonly dueAt: number;
}

/**
 * Carries the bytes of one direction: flowing ⇄ held, → ended. Order is kept whatever the delay. Held bytes are not
 * lost but late, as on a network that drops packets: TCP sends them again once the path is back.
 */
export class Pump {
  delayMs = 0;
  private held = false;
  private budget: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly queue: Parcel[] = [];

  constructor(
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly onBudgetSpent: () => void,
  ) {
    from.on('data', (chunk: Buffer) => this.accept(chunk));
    from.on('end', () => this.accept(undefined));
    to.on('drain', () => this.resume());
  }

  hold(): void {
    this.held = true;
    this.from.pause();
  }

  /** Forwards so many bytes more, then reports that the budget is spent. */
  limit(bytes: number): void {
    this.budget = bytes;
  }

  heal(): void {
    this.held = false;
    this.delayMs = 0;
    this.budget = undefined;
    this.resume();
    this.deliver();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.queue.length = 0;
  }

  private accept(chunk: Buffer | undefined): void {
    this.queue.push({ chunk, dueAt: performance.now() + this.delayMs });
    this.deliver();
  }

  private deliver(): void {
    clearTimeout(this.timer);
    for (let parcel = this.queue[0]; parcel !== undefined && !this.held; parcel = this.queue[0]) {
      const waitMs = parcel.dueAt - performance.now();
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.deliver(), Math.ceil(waitMs));
        return;
      }
      this.queue.shift();
      this.forward(parcel.chunk);
    }
  }

  private forward(chunk: Buffer | undefined): void {
    if (this.to.destroyed) return;
    if (chunk === undefined) {
      this.to.end();
      return;
    }
    const allowed = this.spend(chunk);
    if (allowed.length > 0 && !this.to.write(allowed)) this.from.pause();
    if (allowed.length < chunk.length) this.cutAfterFlush();
  }

  private spend(chunk: Buffer): Buffer {
    if (this.budget === undefined) return chunk;
    const allowed = chunk.subarray(0, this.budget);
    this.budget -= allowed.length;
    return allowed;
  }

  /** A reset discards what is still in our send buffer: the allowed bytes must be on their way first. */
  private cutAfterFlush(): void {
    this.hold();
    this.to.write(Buffer.alloc(0), () => this.onBudgetSpent());
  }

  private resume(): void {
    if (!this.held) this.from.resume();
  }
}
