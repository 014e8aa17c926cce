import { ConfigurationError } from '@lockstep/core';
import type { BullmqRedisOptions } from '../bullmq.options.js';

/** What is needed of an ioredis client, version 5 or 6. A type alias, so that BullMQ's own open types accept it. */
export type RedisClientLike = {
  readonly status: string;
  readonly isCluster?: boolean;
  connect(): Promise<unknown>;
  duplicate(override?: object): RedisClientLike;
  disconnect(reconnect?: boolean): void;
  info(section: string): Promise<string>;
  // biome-ignore lint/suspicious/noExplicitAny: ioredis' own overloads fit no narrower shape
  on(event: string, listener: (...values: any[]) => void): unknown;
};

export type RedisClientKind = 'commands' | 'work' | 'blocking';

const RETRY_PAUSE_MS = { first: 50, most: 1_000 };
const SILENT_SOCKET_MS = 10_000;

/** Makes clients of the three kinds that BullMQ needs, all from one description of the server. */
export async function redisClientFactory(
  source: BullmqRedisOptions,
  commandTimeoutMs: number,
): Promise<(kind: RedisClientKind) => RedisClientLike> {
  const settings = clientSettings(commandTimeoutMs);
  if ('connection' in source) return (kind) => source.connection.duplicate(settings[kind]);
  const Redis = await loadRedis();
  return (kind) => new Redis(source.url, settings[kind]);
}

function clientSettings(commandTimeoutMs: number): Record<RedisClientKind, object> {
  const every = {
    lazyConnect: false,
    keyPrefix: '',
    retryStrategy: (times: number) => Math.min(RETRY_PAUSE_MS.first * 2 ** Math.min(times, 10), RETRY_PAUSE_MS.most),
    // After a failover the socket still leads to what is now a replica.
    reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 1 : false),
  };
  const patient = { ...every, maxRetriesPerRequest: null, enableOfflineQueue: true, commandTimeout: undefined };
  return {
    // Fails at once instead of queueing or resending: the caller publishes again, and a late copy would overtake.
    commands: {
      ...every,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: undefined,
      socketTimeout: Math.max(3 * commandTimeoutMs, 1_000),
    },
    // Waits for the server instead of failing: a finished job that cannot be completed would run again.
    work: { ...patient, socketTimeout: SILENT_SOCKET_MS },
    blocking: { ...patient, socketTimeout: undefined },
  };
}

async function loadRedis(): Promise<new (url: string, options: object) => RedisClientLike> {
  try {
    const { Redis } = await import('ioredis');
    return Redis;
  } catch (cause) {
    throw new ConfigurationError(
      "BullMQ on Redis by 'redis.url' needs the package 'ioredis': npm install ioredis",
      cause,
    );
  }
}
