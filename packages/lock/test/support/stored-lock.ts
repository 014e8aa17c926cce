import type { RedisConnection } from '@lockstep/redis';

/** The storage layout as the README states it, written down a second time on purpose. */
export interface StoredLock {
  readonly token: string;
  readonly fence: string;
  readonly leaseEnd: number;
  readonly sharers: string;
  readonly queue: string;
  readonly watch: string;
}

export function lockKey(redis: RedisConnection, key: string): string {
  return `${redis.namespace}:lock:{${key}}`;
}

export async function storedLock(redis: RedisConnection, key: string): Promise<StoredLock | undefined> {
  const value = await redis.command('test', 'get', lockKey(redis, key));
  if (typeof value !== 'string') return undefined;
  const [token = '', fence = '', leaseEnd = '', sharers = '', queue = '', watch = ''] = value.split('|');
  return { token, fence, leaseEnd: Number(leaseEnd), sharers, queue, watch };
}

export async function ownerOf(redis: RedisConnection, key: string): Promise<string | undefined> {
  const stored = await storedLock(redis, key);
  return stored !== undefined && stored.leaseEnd > redis.serverTimeMs() ? stored.token || undefined : undefined;
}

/** Time cannot be set at a server, but the end of a lease can. */
export async function endLease(redis: RedisConnection, key: string): Promise<void> {
  const stored = await storedLock(redis, key);
  if (!stored) return;
  const value = `${stored.token}|${stored.fence}|1|${stored.sharers}|${stored.queue}|${stored.watch}`;
  await redis.command('test', 'set', lockKey(redis, key), value, 'KEEPTTL');
}
