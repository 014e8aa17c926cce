import { RedisIdempotencyStore } from '@lockstep/idempotency/redis';
import { type RedisClient, RedisConnection, RedisModule } from '@lockstep/redis';
import { Test } from '@nestjs/testing';

export interface OpenRedisStore {
  readonly store: RedisIdempotencyStore;
  readonly redis: RedisConnection;
  close(): Promise<void>;
}

/** @param server its URL, or a client of it, such as one of a Cluster */
export async function openRedisStore(server: string | RedisClient, namespace: string): Promise<OpenRedisStore> {
  const at = typeof server === 'string' ? { url: server } : { client: server };
  const module = await Test.createTestingModule({ imports: [RedisModule.forRoot({ ...at, namespace })] }).compile();
  const app = await module.init();
  const redis = app.get(RedisConnection);
  return { store: new RedisIdempotencyStore(redis), redis, close: () => app.close() };
}
