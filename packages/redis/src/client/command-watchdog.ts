import { monotonicMs } from '@lockstep/core';
import type { RedisClient } from './redis-client.js';

interface ClientTimeouts {
  commandTimeout?: number | undefined;
  socketTimeout?: number | undefined;
}

interface SentCommand {
  readonly sentAt: number;
  readonly reject: (error: Error) => void;
}

/** How many command timeouts a server may be silent before its connection counts as half-open. */
const SILENT = 3;

/**
 * Bounds how long the commands of one connection take, with one timer for all of them: a timer for each is a tenth of
 * what a lone command costs.
 *
 * ```
 * sent --answered--> done
 *      --command timeout--> given up (its outcome is unknown) --answered late--> done
 *                           --three timeouts--> the connection is replaced, and all that was sent on it given up
 * ```
 */
export class CommandWatchdog {
  /** Oldest first. */
  private readonly pending = new Set<SentCommand>();
  /** Given up and not answered, oldest first, all older than those that are pending: a server answers in order. */
  private readonly owed = new Set<SentCommand>();
  private timer: NodeJS.Timeout | undefined;
  private firesAt = Number.POSITIVE_INFINITY;

  constructor(
    client: RedisClient,
    private readonly timeoutMs: number,
    private readonly replace: () => void,
  ) {
    // While it connects, the client sends commands of its own, which only its own timers can bound.
    const own = client.options as ClientTimeouts;
    const { commandTimeout, socketTimeout } = own;
    client.on('ready', () => Object.assign(own, { commandTimeout: undefined, socketTimeout: undefined }));
    client.on('close', () => Object.assign(own, { commandTimeout, socketTimeout }));
  }

  watch(command: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const entry: SentCommand = { sentAt: monotonicMs(), reject };
      this.pending.add(entry);
      this.arm(entry.sentAt + this.timeoutMs);
      command.then(
        (reply) => {
          this.forget(entry);
          resolve(reply);
        },
        (error: unknown) => {
          this.forget(entry);
          reject(error);
        },
      );
    });
  }

  private forget(entry: SentCommand): void {
    if (!this.pending.delete(entry)) this.owed.delete(entry);
  }

  private arm(at: number): void {
    if (at >= this.firesAt) return;
    clearTimeout(this.timer);
    this.firesAt = at;
    const ms = Math.max(at - monotonicMs(), 1);
    // After a blocked event loop the answers lie unread: they are read before anyone is told that there are none.
    this.timer = setTimeout(() => setImmediate(() => this.look()), ms).unref();
  }

  private look(): void {
    this.firesAt = Number.POSITIVE_INFINITY;
    const now = monotonicMs();
    for (const entry of this.pending) {
      if (entry.sentAt + this.timeoutMs > now) break;
      this.pending.delete(entry);
      this.owed.add(entry);
      entry.reject(new Error('Command timed out'));
    }
    if (deadlineOf(this.owed, this.timeoutMs * SILENT) <= now) this.leave();
    this.arm(Math.min(deadlineOf(this.owed, this.timeoutMs * SILENT), deadlineOf(this.pending, this.timeoutMs)));
  }

  private leave(): void {
    for (const { reject } of this.pending) reject(new Error('The connection is half-open'));
    this.pending.clear();
    this.owed.clear();
    this.replace();
  }
}

/** When the oldest of them has waited so long; Infinity where there is none. */
function deadlineOf(commands: ReadonlySet<SentCommand>, ms: number): number {
  const [oldest] = commands;
  return oldest ? oldest.sentAt + ms : Number.POSITIVE_INFINITY;
}
