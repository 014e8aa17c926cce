import type { RedisClient } from './redis-client.js';

/** Lets any number of operations wait for one client, by one listener: in an outage thousands wait. */
export class ClientReadiness {
  private isLeaving = false;
  private readonly waiters = new Set<() => void>();

  constructor(
    private readonly client: RedisClient,
    private readonly timeoutMs: number,
  ) {
    client.on('close', () => {
      this.isLeaving = false;
    });
    client.on('ready', () => {
      if (!this.isReady) return;
      for (const wake of [...this.waiters]) wake();
    });
  }

  private get isReady(): boolean {
    return !this.isLeaving && this.client.status === 'ready';
  }

  /** Connects anew. A client calls itself ready until the old connection is closed, though it sends nothing more. */
  replaceConnection(): void {
    // In every other state it connects anew already.
    if (this.client.status !== 'ready') return;
    this.isLeaving = true;
    this.client.disconnect(true);
  }

  /** Waits until the client can send, at most the timeout. Resolves to whether it can. */
  wait(): Promise<boolean> {
    if (this.isReady) return Promise.resolve(true);
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.waiters.delete(wake);
        resolve(this.isReady);
      };
      const timer = setTimeout(wake, this.timeoutMs);
      this.waiters.add(wake);
    });
  }
}
