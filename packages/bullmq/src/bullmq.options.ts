import { ConfigurationError, type Duration, durationMs, isObject, wholeNumber, wrongShape } from '@lockstep/core';
import type { PostgresPoolLike } from './server/postgres-pool.js';
import type { RedisClientLike } from './server/redis-clients.js';
import { resolveServer } from './server-options.js';

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
  if (!isObject(options)) throw wrongShape('bullmq options', options, "an object with 'redis' or 'postgres'");
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
