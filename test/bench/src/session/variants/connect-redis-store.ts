import { createRequire } from 'node:module';
import { createClient } from 'redis';

interface ConnectRedis {
  readonly RedisStore: new (options: { client: object }) => object;
}

/** The store of both peers, with the client that it asks for. */
export async function connectRedisStore(redisUrl: string): Promise<object> {
  const { RedisStore } = createRequire(import.meta.url)('connect-redis') as ConnectRedis;
  const client = createClient({ url: redisUrl });
  await client.connect();
  return new RedisStore({ client });
}
