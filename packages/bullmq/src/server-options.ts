import { ConfigurationError, isObject, wholeNumber, wrongShape } from '@lockstep/core';
import type {
  BullmqPostgresOptions,
  BullmqRedisOptions,
  BullmqServerOptions,
  ResolvedServerOptions,
} from './bullmq.options.js';
import { checkUrl } from './option-checks.js';

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;

/** @throws ConfigurationError naming the option and its value, without passwords */
export function resolveServer({ redis, postgres }: BullmqServerOptions): ResolvedServerOptions {
  if ((redis === undefined) === (postgres === undefined)) {
    throw new ConfigurationError("BullMQ needs exactly one of the options 'redis' and 'postgres'.");
  }
  if (redis !== undefined) return { kind: 'redis', source: checkedRedis(redis) };
  return resolvePostgres(postgres as BullmqPostgresOptions);
}

function checkedRedis(redis: BullmqRedisOptions): BullmqRedisOptions {
  if (!isObject(redis) || !('url' in redis || 'connection' in redis)) {
    throw wrongShape('redis', redis, "an object with 'url' or 'connection'");
  }
  if ('url' in redis) {
    checkUrl('redis.url', redis.url, /^rediss?:\/\//, 'a redis:// URL');
    return redis;
  }
  if (typeof redis.connection?.duplicate !== 'function') {
    throw wrongShape('redis.connection', redis.connection, 'an ioredis client');
  }
  if (redis.connection.isCluster === true) {
    throw ConfigurationError.option('redis.connection', 'a Cluster', 'a client of a single Redis');
  }
  return redis;
}

function resolvePostgres(postgres: BullmqPostgresOptions): ResolvedServerOptions {
  if (!isObject(postgres) || !('url' in postgres || 'pool' in postgres)) {
    throw wrongShape('postgres', postgres, "an object with 'url' or 'pool'");
  }
  if ('url' in postgres) checkUrl('postgres.url', postgres.url, /^postgres(ql)?:\/\//, 'a postgres:// URL');
  if ('pool' in postgres && typeof postgres.pool?.query !== 'function') {
    throw wrongShape('postgres.pool', postgres.pool, 'a pg.Pool');
  }
  const schema = postgres.schema ?? 'lockstep_bullmq';
  if (!IDENTIFIER.test(schema)) throw ConfigurationError.option('postgres.schema', schema, 'a plain SQL identifier');
  const maxConnections = 'url' in postgres ? (postgres.maxConnections ?? 10) : 10;
  return {
    kind: 'postgres',
    source: postgres,
    schema,
    migrate: postgres.migrate ?? true,
    maxConnections: wholeNumber('postgres.maxConnections', maxConnections, 1, 1_000),
  };
}
