import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { RedisClient } from './client/redis-client.js';

/** Either `url` or `client`. */
export interface RedisModuleOptions {
  /** `redis://` or `rediss://`; needs ioredis 5 or 6 installed. */
  readonly url?: string;
  /**
   * The application's own `Redis` or `Cluster` (also with sentinels, TLS, a password provider). It is duplicated, never
   * used: guarantees need settings of their own, and must not queue behind the application's commands.
   */
  readonly client?: RedisClient;
  /** First part of every key. Applications that share a Redis need different ones. Letters, digits, `.`, `_`, `-`. */
  readonly namespace: string;
  /**
   * How long a command may take, and how long an operation waits for a connection.
   * @default '1s'
   */
  readonly commandTimeout?: Duration;
}

export interface ResolvedRedisOptions {
  readonly url: string;
  readonly client: RedisClient | undefined;
  readonly namespace: string;
  readonly commandTimeoutMs: number;
}

const NAMESPACE = /^[A-Za-z0-9._-]{1,64}$/;

/** @throws ConfigurationError naming the option and its value */
export function resolveRedisOptions(options: RedisModuleOptions): ResolvedRedisOptions {
  const { url, client, namespace, commandTimeout = '1s' } = options;
  if ((url === undefined) === (client === undefined)) {
    const given =
      url === undefined ? 'both are undefined (an environment variable that is not set?)' : 'both are given';
    throw new ConfigurationError(`RedisModule takes either \`url\` or \`client\`; ${given}.`);
  }
  if (url !== undefined && !isRedisUrl(url)) {
    throw ConfigurationError.option('url', url, 'a redis:// or rediss:// URL');
  }
  if (typeof namespace !== 'string' || !NAMESPACE.test(namespace)) {
    throw ConfigurationError.option('namespace', namespace, '1 to 64 letters, digits, dots, underscores or hyphens');
  }
  return Object.freeze({
    url: url ?? '',
    client,
    namespace,
    commandTimeoutMs: durationMs(commandTimeout, 'commandTimeout', { minMs: 10, maxMs: 60_000 }),
  });
}

function isRedisUrl(url: unknown): boolean {
  return typeof url === 'string' && URL.canParse(url) && /^rediss?:$/.test(new URL(url).protocol);
}
