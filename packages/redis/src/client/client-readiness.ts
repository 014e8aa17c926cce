import type { RedisClient } from './redis-client.js';

/** Lets any number of operations wait for one client, by one listener: in an outage thousands wait. */
export class ClientReadiness {
  private readonly waiters = new Set<() => void>();

  constructor(
    private readonly client: RedisClient,
    private readonly timeoutMs: number,
  ) {
    client.on('ready', () => {
      for (const wake of [...this.waiters]) wake();
    });
  }

  /** Waits until the client can send, at most the timeout. Resolves to whether it can. */
  wait(): Promise<boolean> {
    if (this.client.status === 'ready') return Promise.resolve(true);
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.waiters.delete(wake);
        resolve(this.client.status === 'ready');
      };
      const timer = setTimeout(wake, this.timeoutMs);
      this.waiters.add(wake);
    });
  }
}
