import type { RedisConnection } from '@lockstep/redis';

/** All keys under the connection's namespace, each with how long it lasts: -1 for ever. Of a single server. */
export async function ttlsOf(redis: RedisConnection): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  let cursor = '0';
  do {
    const [next, keys] = (await redis.command(
      'test',
      'scan',
      cursor,
      'MATCH',
      `${redis.namespace}:*`,
      'COUNT',
      1_000,
    )) as [string, string[]];
    await Promise.all(keys.map(async (key) => found.set(key, Number(await redis.command('test', 'pttl', key)))));
    cursor = next;
  } while (cursor !== '0');
  return found;
}

/** @returns the keys that nothing would ever remove */
export async function endlessKeys(redis: RedisConnection): Promise<string[]> {
  return [...(await ttlsOf(redis))].filter(([, ttl]) => ttl === -1).map(([key]) => key);
}
