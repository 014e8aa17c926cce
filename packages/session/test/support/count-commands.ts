import type { RedisConnection } from '@lockstep/redis';
import { type RedisCommandCounter, redisCommandCounter } from '@lockstep/testing';

/** Counts what one connection sends: other specs run on the same server. */
export async function countCommandsOf(redis: RedisConnection, url: string): Promise<RedisCommandCounter> {
  const info = String(await redis.command('test', 'client', 'info'));
  const address = / addr=(\S+)/.exec(info)?.[1];
  if (address === undefined) throw new Error(`no address in ${info}`);
  return redisCommandCounter(url, { clients: [address] });
}
