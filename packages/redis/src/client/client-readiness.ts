import type { RedisClient } from './redis-client.js';

/** Waits until the client can send, at most `timeoutMs`. Resolves to whether it can. */
export function becomesReady(client: RedisClient, timeoutMs: number): Promise<boolean> {
  if (client.status === 'ready') return Promise.resolve(true);
  return new Promise((resolve) => {
    const settle = (isReady: boolean): void => {
      clearTimeout(timer);
      client.off('ready', onReady);
      resolve(isReady);
    };
    const onReady = (): void => settle(true);
    const timer = setTimeout(() => settle(client.status === 'ready'), timeoutMs);
    client.on('ready', onReady);
  });
}
