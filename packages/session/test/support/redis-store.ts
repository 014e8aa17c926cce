import { Incidents } from '@lockstep/core';
import { type RedisClient, RedisConnection, RedisModule } from '@lockstep/redis';
import { RedisSessionStore } from '@lockstep/session/redis';
import { Test } from '@nestjs/testing';

export interface OpenRedisStore {
  readonly store: RedisSessionStore;
  readonly redis: RedisConnection;
  readonly incidents: Incidents;
  close(): Promise<void>;
}

/** @param server its URL, or a client of it, such as one of a Cluster */
export async function openRedisStore(server: string | RedisClient, namespace: string): Promise<OpenRedisStore> {
  const at = typeof server === 'string' ? { url: server } : { client: server };
  const module = await Test.createTestingModule({ imports: [RedisModule.forRoot({ ...at, namespace })] }).compile();
  const app = await module.init();
  const redis = app.get(RedisConnection);
  const incidents = app.get(Incidents);
  return { store: new RedisSessionStore(redis, incidents), redis, incidents, close: () => app.close() };
}

export interface OpenRedisStores extends OpenRedisStore {
  readonly another: RedisSessionStore;
}

/** Two of them, as two processes have. */
export async function openRedisStores(server: string | RedisClient, namespace: string): Promise<OpenRedisStores> {
  const [one, other] = [await openRedisStore(server, namespace), await openRedisStore(server, namespace)];
  const close = async (): Promise<void> => {
    await Promise.all([one.close(), other.close()]);
  };
  return { ...one, another: other.store, close };
}
