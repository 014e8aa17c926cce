import type { RedisConnection } from '@lockstep/redis';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The storage layout as the README states it, written down a second time on purpose. */
export function recordKey(redis: RedisConnection, id: string): string {
  return `${bucket(redis, id)}:${id}`;
}

export function runningKey(redis: RedisConnection, id: string): string {
  return `${bucket(redis, id)}:running`;
}

function bucket(redis: RedisConnection, id: string): string {
  return `${redis.namespace}:idem:{b${String(ALPHABET.indexOf(id.charAt(0))).padStart(2, '0')}}`;
}
