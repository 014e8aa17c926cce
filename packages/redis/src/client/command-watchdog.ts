import { monotonicMs } from '@lockstep/core';
import type { RedisClient } from './redis-client.js';

interface ClientTimeouts {
  commandTimeout?: number | undefined;
  socketTimeout?: number | undefined;
}

interface PendingCommand {
  readonly sentAt: number;
  /** Undefined once its sender was told that it took too long. */
  reject: ((error: Error) => void) | undefined;
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
 *                           --three timeouts--> the connection is replaced
 * ```
 */
export class CommandWatchdog {
  /** Oldest first. */
  private readonly pending = new Set<PendingCommand>();
  private isArmed = false;

  constructor(
    private readonly client: RedisClient,
    private readonly timeoutMs: number,
  ) {
    // While it connects, the client sends commands of its own, which only its own timers can bound.
    const own = client.options as ClientTimeouts;
    const { commandTimeout, socketTimeout } = own;
    client.on('ready', () => Object.assign(own, { commandTimeout: undefined, socketTimeout: undefined }));
    client.on('close', () => Object.assign(own, { commandTimeout, socketTimeout }));
  }

  watch(command: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const entry: PendingCommand = { sentAt: monotonicMs(), reject };
      this.pending.add(entry);
      if (!this.isArmed) this.arm(this.timeoutMs);
      command.then(
        (reply) => {
          this.pending.delete(entry);
          resolve(reply);
        },
        (error: unknown) => {
          this.pending.delete(entry);
          reject(error);
        },
      );
    });
  }

  private arm(ms: number): void {
    this.isArmed = true;
    // After a blocked event loop the answers lie unread: they are read before anyone is told that there are none.
    setTimeout(() => setImmediate(() => this.look()), Math.max(ms, 1)).unref();
  }

  private look(): void {
    this.isArmed = false;
    const now = monotonicMs();
    for (const entry of this.pending) {
      const leftMs = entry.sentAt + this.timeoutMs - now;
      if (leftMs > 0) {
        this.arm(leftMs);
        return;
      }
      entry.reject?.(new Error('Command timed out'));
      entry.reject = undefined;
    }
    this.lookAtConnection(now);
  }

  /** All that is pending was given up: how long has the server owed the oldest answer? */
  private lookAtConnection(now: number): void {
    const [oldest] = this.pending;
    if (!oldest) return;
    const leftMs = oldest.sentAt + this.timeoutMs * SILENT - now;
    if (leftMs > 0) {
      this.arm(leftMs);
      return;
    }
    this.pending.clear();
    this.client.disconnect(true);
  }
}
