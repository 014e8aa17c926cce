import type { RedisClient } from '@lockstep/redis';
import { Redis } from 'ioredis';

interface Ways {
  readonly commandUrl: string;
  readonly pushUrl: string;
}

/** A client whose connections go different ways: the first, for commands, to one port, that for pushes to another. */
export function splitClient({ commandUrl, pushUrl }: Ways): RedisClient {
  const client = new Redis(commandUrl, { lazyConnect: true });
  const duplicate = client.duplicate.bind(client);
  let opened = 0;
  client.duplicate = (overrides): Redis => {
    opened += 1;
    return duplicate({ ...overrides, port: Number(new URL(opened === 1 ? commandUrl : pushUrl).port) });
  };
  return client;
}
