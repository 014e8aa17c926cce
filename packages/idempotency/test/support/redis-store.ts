import { RedisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { Test } from '@nestjs/testing';

export interface OpenRedisStore {
  readonly store: RedisIdempotencyStore;
  readonly redis: RedisConnection;
  close(): Promise<void>;
}

export async function openRedisStore(url: string, namespace: string): Promise<OpenRedisStore> {
  const module = await Test.createTestingModule({ imports: [RedisModule.forRoot({ url, namespace })] }).compile();
  const app = await module.init();
  const redis = app.get(RedisConnection);
  return { store: new RedisIdempotencyStore(redis), redis, close: () => app.close() };
}
