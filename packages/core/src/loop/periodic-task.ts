import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';

export interface PeriodicTaskInit {
  readonly name: string;
  /** Pause between two runs; each pause is drawn from ± 10 %, so that the nodes of a fleet do not march in step. */
  readonly everyMs: number;
  /** One pass. `'again'` means that there is more to do: the next pass starts at once. Must not await `stop()`. */
  run(signal: AbortSignal): Promise<'again' | undefined>;
  /** Hears of every failed pass; the loop goes on after a pause. */
  onError(error: unknown): void;
}

const FIRST_BACKOFF_MS = 100;
const MAX_DOUBLINGS = 16;
/** Beyond it, Node's timers fire at once. */
const MAX_TIMER_MS = 2_147_483_647;

/**
 * A sweep for correctness and a wake-up for speed, in one loop that never runs twice at a time.
 *
 * ```
 * idle --start--> running
 * running --done--> waiting (everyMs) --timer | wake--> running
 * running --'again' | woken meanwhile--> running, after a turn of the event loop
 * running --failed--> backing off (100 ms doubling, at most everyMs; a wake does not shorten it) --timer--> running
 * any --stop--> stopping (the signal aborts, the current pass is awaited) --> stopped
 * ```
 */
export class PeriodicTask {
  private readonly controller = new AbortController();
  private pause = new AbortController();
  private woken = false;
  private failures = 0;
  private loop: Promise<void> | undefined;

  constructor(private readonly init: PeriodicTaskInit) {}

  /** Starts with a pass at once. A second call does nothing; nor does one after `stop()`. */
  start(): void {
    this.loop ??= this.cycle();
  }

  /** Makes the next pass begin now, or right after the current one. */
  wake(): void {
    this.woken = true;
    if (this.failures === 0) this.pause.abort();
  }

  /** Aborts the signal of the current pass, awaits its end, and starts no other. */
  async stop(): Promise<void> {
    this.controller.abort();
    this.pause.abort();
    await this.loop;
  }

  private async cycle(): Promise<void> {
    const { signal } = this.controller;
    while (!signal.aborted) {
      this.woken = false;
      const more = await this.pass();
      if (signal.aborted) return;
      if (this.failures > 0) await this.rest(backoffMs(this.failures, this.init.everyMs));
      else if (more || this.woken) await nextTurn();
      else await this.rest(this.init.everyMs);
    }
  }

  private async pass(): Promise<boolean> {
    try {
      const more = (await this.init.run(this.controller.signal)) === 'again';
      this.failures = 0;
      return more;
    } catch (error) {
      this.failures += 1;
      if (!this.isFromStop(error)) this.tell(error);
      return false;
    }
  }

  /** A pass that was told to stop and says so has not failed. */
  private isFromStop(error: unknown): boolean {
    const { aborted, reason } = this.controller.signal;
    return aborted && (error === reason || (error instanceof Error && error.name === 'AbortError'));
  }

  private tell(error: unknown): void {
    try {
      this.init.onError(error);
    } catch (thrown) {
      new Logger('Lockstep').error(`onError of the task ${this.init.name} threw`, thrown);
    }
  }

  private async rest(ms: number): Promise<void> {
    this.pause = new AbortController();
    const { signal } = this.pause;
    const pauseMs = Math.min(ms * (0.9 + Math.random() * 0.2), MAX_TIMER_MS);
    try {
      await sleep(pauseMs, undefined, { signal, ref: false });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

function backoffMs(failures: number, everyMs: number): number {
  return Math.min(FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, MAX_DOUBLINGS), everyMs);
}
