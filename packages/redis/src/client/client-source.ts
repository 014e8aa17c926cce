import { ConfigurationError } from '@lockstep/core';
import type { ResolvedRedisOptions } from '../redis.options.js';
import { clusterOptions, guaranteeOptions } from './client-options.js';
import { isClusterClient, type RedisClient } from './redis-client.js';

/** Makes connections of one kind; each is ours to close. */
export interface ClientSource {
  readonly isCluster: boolean;
  open(): RedisClient;
}

type Duplicate = (...overrides: unknown[]) => RedisClient;
type ClientClass = new (url: string, options: Readonly<Record<string, unknown>>) => RedisClient;

/** @throws ConfigurationError when a URL is given and ioredis is not installed */
export async function clientSource(options: ResolvedRedisOptions): Promise<ClientSource> {
  const { client, url, commandTimeoutMs } = options;
  if (client !== undefined) return duplicates(client, commandTimeoutMs);
  const Client = await loadClientClass();
  return { isCluster: false, open: () => new Client(url, guaranteeOptions(commandTimeoutMs)) };
}

function duplicates(client: RedisClient, commandTimeoutMs: number): ClientSource {
  const duplicate = (client.duplicate as Duplicate).bind(client);
  if (!isClusterClient(client)) {
    return { isCluster: false, open: () => duplicate(guaranteeOptions(commandTimeoutMs)) };
  }
  return { isCluster: true, open: () => duplicate([], clusterOptions(commandTimeoutMs, client.options)) };
}

async function loadClientClass(): Promise<ClientClass> {
  try {
    const { Redis } = (await import('ioredis')) as unknown as { Redis: ClientClass };
    return Redis;
  } catch (cause) {
    throw new ConfigurationError(
      'RedisModule was given a `url` but ioredis (5 or 6) is not installed: npm install ioredis',
      cause,
    );
  }
}
