import type { RedisClient } from '@lockstep/redis';
import { Redis, type RedisOptions } from 'ioredis';

/** A client whose connections go different ways: the first, for commands, to one address, all others to another. */
export function splitClient(commandUrl: string, pushUrl: string): RedisClient {
  const client = new Redis(commandUrl, { lazyConnect: true });
  let opened = 0;
  client.duplicate = (overrides?: Partial<RedisOptions>): Redis => {
    opened += 1;
    return new Redis(opened === 1 ? commandUrl : pushUrl, overrides ?? {});
  };
  return client;
}
