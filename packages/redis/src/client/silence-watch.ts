import { monotonicMs } from '@lockstep/core';
import { isReplyError } from '../redis.errors.js';

export interface SilenceWatchHost {
  /** How long an answer may take. */
  readonly timeoutMs: number;
  /** Asks the server anything; undefined where there is nothing to listen for. */
  ask(): Promise<unknown> | undefined;
  /** The server has not answered. */
  replace(cause: unknown): void;
}

/** How many command timeouts nothing may be heard before the server is asked, and at most how long. */
const SILENT = 20;
const LONGEST_MS = 20_000;

/**
 * Finds out that a connection on which nothing is ever asked is half-open: a network drops an idle one without a word.
 *
 * ```
 * hearing --long silence--> asking --answered--> hearing
 *                                  --command timeout--> (the connection is replaced) --> hearing
 * ```
 */
export class SilenceWatch {
  private heardAt = monotonicMs();
  private readonly silenceMs: number;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly host: SilenceWatchHost) {
    this.silenceMs = Math.min(host.timeoutMs * SILENT, LONGEST_MS);
    this.arm();
  }

  heard(): void {
    this.heardAt = monotonicMs();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private arm(): void {
    const leftMs = Math.max(this.heardAt + this.silenceMs - monotonicMs(), 1);
    this.timer = setTimeout(() => void this.look(), leftMs).unref();
  }

  private async look(): Promise<void> {
    const { timer } = this;
    if (monotonicMs() - this.heardAt >= this.silenceMs) await this.ask();
    if (this.timer === timer) this.arm();
  }

  private async ask(): Promise<void> {
    try {
      const answer = this.host.ask();
      if (answer) await within(answer, this.host.timeoutMs);
    } catch (cause) {
      // A server that refuses is there.
      if (!isReplyError(cause)) this.host.replace(cause);
    }
    this.heard();
  }
}

function within(answer: Promise<unknown>, ms: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    // After a blocked event loop the answer lies unread: it is read before it counts as missing.
    const late = (): unknown =>
      setImmediate(() => reject(new Error('nothing was heard, and the server did not answer')));
    const timer = setTimeout(late, ms);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
