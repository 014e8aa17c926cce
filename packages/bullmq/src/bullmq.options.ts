import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { PostgresPoolLike } from './server/postgres-pool.js';
import type { RedisClientLike } from './server/redis-clients.js';

export type BullmqRedisOptions =
  | {
      /** `redis://…` or `rediss://…`; needs the peer dependency `ioredis`. */
      readonly url: string;
    }
  | {
      /**
       * An ioredis client (5 or 6, not a Cluster) to take the settings from: it is duplicated, never used itself and
       * never closed, because BullMQ needs connections of different kinds. It must not have a `keyPrefix`.
       */
      readonly connection: RedisClientLike;
    };

export type BullmqPostgresOptions = (
  | {
      /** `postgres://…`; needs the peer dependency `pg`. */
      readonly url: string;
      /** Connections that carry commands; each subscription has one more for `LISTEN`. @default 10 */
      readonly maxConnections?: number;
    }
  | {
      /**
       * A `pg.Pool` for BullMQ alone. Its connections must find BullMQ's tables: give it
       * `options: '-c search_path=<schema>'`; and each subscription keeps one of them. It is not closed.
       */
      readonly pool: PostgresPoolLike;
    }
) & {
  /** Schema that BullMQ has to itself, at most 63 characters. @default 'lockstep_bullmq' */
  readonly schema?: string;
  /**
   * Whether to create and update that schema. `false` expects BullMQ's own `runMigrations()` to have done it.
   * @default true
   */
  readonly migrate?: boolean;
};

/** Where BullMQ keeps its jobs: exactly one of the two. */
export type BullmqServerOptions =
  | { readonly redis: BullmqRedisOptions; readonly postgres?: never }
  | { readonly postgres: BullmqPostgresOptions; readonly redis?: never };

export type BullmqOptions = BullmqServerOptions & {
  /** Keeps applications on one server apart: letters, digits, `_` and `-`, at most 32. @default 'lockstep' */
  readonly namespace?: string;
  /** How long a publish, schedule or cancel may take before its outcome counts as unknown. @default '1s' */
  readonly commandTimeout?: Duration;
  /**
   * How long a process may be silent before its jobs go to another one. A killed process's jobs are back after at most
   * twice this time. A handler that blocks the event loop for longer runs twice at a time. @default '30s'
   */
  readonly lockDuration?: Duration;
};

export type BullmqTransportOptions = BullmqOptions & {
  /** Messages that travel in one job, at most: the job, not the message, is what BullMQ charges for. @default 100 */
  readonly batchSize?: number;
  /** A larger message is rejected (key, headers and payload, in UTF-8). @default 262144 */
  readonly maxMessageBytes?: number;
};

export type BullmqRetrySchedulerOptions = BullmqOptions & {
  /** Handlers of one queue that run at a time in this process. @default 10 */
  readonly concurrency?: number;
  /** How often a failing handler is called before its wake-up is dropped and reported. @default 8 */
  readonly attempts?: number;
};

export interface ResolvedBullmqOptions {
  readonly server: ResolvedServerOptions;
  readonly namespace: string;
  readonly commandTimeoutMs: number;
  readonly lockDurationMs: number;
}

export type ResolvedServerOptions =
  | { readonly kind: 'redis'; readonly source: BullmqRedisOptions }
  | {
      readonly kind: 'postgres';
      readonly source: BullmqPostgresOptions;
      readonly schema: string;
      readonly migrate: boolean;
      readonly maxConnections: number;
    };

export interface ResolvedTransportOptions extends ResolvedBullmqOptions {
  readonly batchSize: number;
  readonly maxMessageBytes: number;
}

export interface ResolvedRetrySchedulerOptions extends ResolvedBullmqOptions {
  readonly concurrency: number;
  readonly attempts: number;
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;
const NAMESPACE = /^[A-Za-z0-9_-]{1,32}$/;

/** @throws ConfigurationError naming the option and its value */
export function resolveTransportOptions(options: BullmqTransportOptions): ResolvedTransportOptions {
  return Object.freeze({
    ...resolveCommon(options),
    batchSize: wholeNumber('batchSize', options.batchSize ?? 100, 1, 10_000),
    maxMessageBytes: wholeNumber('maxMessageBytes', options.maxMessageBytes ?? 262_144, 1, 16_777_216),
  });
}

/** @throws ConfigurationError naming the option and its value */
export function resolveRetrySchedulerOptions(options: BullmqRetrySchedulerOptions): ResolvedRetrySchedulerOptions {
  return Object.freeze({
    ...resolveCommon(options),
    concurrency: wholeNumber('concurrency', options.concurrency ?? 10, 1, 1_000),
    attempts: wholeNumber('attempts', options.attempts ?? 8, 1, 100),
  });
}

function resolveCommon(options: BullmqOptions): ResolvedBullmqOptions {
  const namespace = options.namespace ?? 'lockstep';
  if (!NAMESPACE.test(namespace)) {
    throw ConfigurationError.option('namespace', namespace, '1 to 32 letters, digits, _ or -');
  }
  return {
    server: resolveServer(options),
    namespace,
    commandTimeoutMs: durationMs(options.commandTimeout ?? '1s', 'commandTimeout', { minMs: 10, maxMs: 60_000 }),
    lockDurationMs: durationMs(options.lockDuration ?? '30s', 'lockDuration', { minMs: 100, maxMs: 3_600_000 }),
  };
}

function resolveServer({ redis, postgres }: BullmqServerOptions): ResolvedServerOptions {
  if ((redis === undefined) === (postgres === undefined)) {
    throw new ConfigurationError("BullMQ needs exactly one of the options 'redis' and 'postgres'.");
  }
  if (redis !== undefined) return { kind: 'redis', source: checkedRedis(redis) };
  return resolvePostgres(postgres as BullmqPostgresOptions);
}

function checkedRedis(redis: BullmqRedisOptions): BullmqRedisOptions {
  if ('url' in redis) {
    if (!/^rediss?:\/\//.test(redis.url)) throw ConfigurationError.option('redis.url', redis.url, 'a redis:// URL');
    return redis;
  }
  if (typeof redis.connection?.duplicate !== 'function') {
    throw ConfigurationError.option('redis.connection', redis.connection, 'an ioredis client');
  }
  if (redis.connection.isCluster === true) {
    throw ConfigurationError.option('redis.connection', 'a Cluster', 'a client of a single Redis');
  }
  return redis;
}

function resolvePostgres(postgres: BullmqPostgresOptions): ResolvedServerOptions {
  if ('url' in postgres && !/^postgres(ql)?:\/\//.test(postgres.url)) {
    throw ConfigurationError.option('postgres.url', postgres.url, 'a postgres:// URL');
  }
  if ('pool' in postgres && typeof postgres.pool?.query !== 'function') {
    throw ConfigurationError.option('postgres.pool', postgres.pool, 'a pg.Pool');
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

function wholeNumber(option: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw ConfigurationError.option(option, value, `a whole number from ${min} to ${max}`);
  }
  return value;
}
