import { Incidents } from '@lockstep/core';
import type { LockStore } from '@lockstep/lock';
import { RedisLockStore } from '@lockstep/lock/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { type INestApplicationContext, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export interface OpenedRedis {
  readonly app: INestApplicationContext;
  readonly connection: RedisConnection;
  readonly incidents: Incidents;
  readonly store: RedisLockStore;
}

const FENCE_RETENTION_MS = 60_000;

@Module({})
class Root {}

/** A Redis store as an application gets it, without the lock service in front. */
export async function openRedis(url: string, namespace: string, commandTimeoutMs = 1_000): Promise<OpenedRedis> {
  const redis = RedisModule.forRoot({ url, namespace, commandTimeout: commandTimeoutMs });
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports: [redis] },
    { logger: false, abortOnError: false },
  );
  Logger.overrideLogger(false);
  const connection = app.get(RedisConnection);
  const incidents = app.get(Incidents);
  return {
    app,
    connection,
    incidents,
    store: new RedisLockStore(connection, incidents, { fenceRetentionMs: FENCE_RETENTION_MS, replicas: undefined }),
  };
}

/** Two processes' worth of stores on one Redis. */
export async function openRivals(
  url: string,
  namespace: string,
): Promise<{ store: LockStore; rival: LockStore; close(): Promise<void> }> {
  const [one, other] = await Promise.all([openRedis(url, namespace), openRedis(url, namespace)]);
  const close = async (): Promise<void> => {
    await Promise.all([one.app.close(), other.app.close()]);
  };
  return { store: one.store, rival: other.store, close };
}
