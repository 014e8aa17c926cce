import type { RedisConnection } from '@lockstep/redis';
import type { SessionKey } from '@lockstep/session';

/** The storage layout as the README states it, written down a second time on purpose. */
export function sessionKey(redis: RedisConnection, { group, id }: SessionKey): string {
  return `${redis.namespace}:session:{${group}}:${id}`;
}

export function indexKey(redis: RedisConnection, group: string): string {
  return `${redis.namespace}:session-user:{${group}}`;
}
