import { setTimeout as sleep } from 'node:timers/promises';

export interface PeriodicTaskInit {
  readonly name: string;
  /** Pause between two runs; each pause is drawn from ± 10 %, so that the nodes of a fleet do not march in step. */
  readonly everyMs: number;
  /** One pass. `'again'` means that there is more to do: the next pass starts at once. */
  run(signal: AbortSignal): Promise<'again' | undefined>;
  /** Hears of every failed pass; the loop goes on after a pause. */
  onError(error: unknown): void;
}

/**
 * A sweep for correctness and a wake-up for speed, in one loop that never runs twice at a time.
 *
 * ```
 * idle --start--> waiting --timer | wake--> running --done--> waiting
 *                                           running --'again' | woken meanwhile--> running
 * any --stop--> stopping (the signal aborts, the current pass is awaited) --> stopped
 * ```
 */
export class PeriodicTask {
  private readonly controller = new AbortController();
  private pause = new AbortController();
  private woken = false;
  private loop: Promise<void> | undefined;

  constructor(private readonly init: PeriodicTaskInit) {}

  /** Starts with a pass at once. A second call does nothing. */
  start(): void {
    this.loop ??= this.cycle();
  }

  /** Makes the next pass begin now, or right after the current one. */
  wake(): void {
    this.woken = true;
    this.pause.abort();
  }

  /** Aborts the signal of the current pass, awaits its end, and starts no other. */
  async stop(): Promise<void> {
    this.controller.abort();
    this.pause.abort();
    await this.loop;
  }

  private async cycle(): Promise<void> {
    while (!this.controller.signal.aborted) {
      this.woken = false;
      const more = await this.pass();
      if (more || this.woken || this.controller.signal.aborted) continue;
      await this.rest();
    }
  }

  private async pass(): Promise<boolean> {
    try {
      return (await this.init.run(this.controller.signal)) === 'again';
    } catch (error) {
      if (!this.controller.signal.aborted) this.init.onError(error);
      return false;
    }
  }

  private async rest(): Promise<void> {
    this.pause = new AbortController();
    if (this.woken || this.controller.signal.aborted) return;
    const pauseMs = this.init.everyMs * (0.9 + Math.random() * 0.2);
    try {
      await sleep(pauseMs, undefined, { signal: this.pause.signal, ref: false });
    } catch (error) {
      if (!this.pause.signal.aborted) throw error;
    }
  }
}
