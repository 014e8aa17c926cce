import { Incidents } from '@lockstep/core';
import type { LockStore } from '@lockstep/lock';
import { RedisLockStore } from '@lockstep/lock/redis';
import { type RedisClient, RedisConnection, RedisModule } from '@lockstep/redis';
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

export interface RedisStoreOptions {
  readonly url?: string;
  readonly client?: RedisClient;
  readonly namespace: string;
  readonly commandTimeoutMs?: number;
  readonly fenceRetentionMs?: number;
  readonly replicas?: number;
}

/** A Redis store as an application gets it, without the lock service in front. */
export async function openRedisStore(options: RedisStoreOptions): Promise<OpenedRedis> {
  const { commandTimeoutMs = 1_000, fenceRetentionMs = FENCE_RETENTION_MS, replicas: count, ...server } = options;
  const redis = RedisModule.forRoot({ ...server, commandTimeout: commandTimeoutMs });
  const app = await NestFactory.createApplicationContext(
    { module: Root, imports: [redis] },
    { logger: false, abortOnError: false },
  );
  Logger.overrideLogger(false);
  const connection = app.get(RedisConnection);
  const incidents = app.get(Incidents);
  const replicas = count === undefined ? undefined : { replicas: count, timeoutMs: commandTimeoutMs / 2 };
  return {
    app,
    connection,
    incidents,
    store: new RedisLockStore(connection, incidents, { fenceRetentionMs, replicas }),
  };
}

export function openRedis(url: string, namespace: string, commandTimeoutMs?: number): Promise<OpenedRedis> {
  return openRedisStore({ url, namespace, ...(commandTimeoutMs === undefined ? {} : { commandTimeoutMs }) });
}

export interface Rivals {
  readonly store: LockStore;
  readonly rival: LockStore;
  close(): Promise<void>;
}

/** Two processes' worth of stores on one Redis. */
export function openRivals(url: string, namespace: string): Promise<Rivals> {
  return openRivalStores(() => openRedis(url, namespace));
}

export async function openRivalStores(open: () => Promise<OpenedRedis>): Promise<Rivals> {
  const [one, other] = await Promise.all([open(), open()]);
  const close = async (): Promise<void> => {
    await Promise.all([one.app.close(), other.app.close()]);
  };
  return { store: one.store, rival: other.store, close };
}
