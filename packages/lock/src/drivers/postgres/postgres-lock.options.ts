import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { InjectionToken, OptionalFactoryDependency } from '@nestjs/common';
import { advisoryKey } from './advisory-key.js';
import { clientsOf, type LockClient } from './lock-client.js';

export type PostgresLockOptions = PostgresLockServer & {
  /**
   * Sets apart the locks of applications that share a database.
   * @default 'lockstep'
   */
  readonly namespace?: string;
  /**
   * Most connections of this process that wait for a lock, or carry one that they waited for; beside these it has one.
   * Those for whom none is left ask again every 100 ms.
   * @default 5
   */
  readonly waiters?: number;
  /**
   * For a connection, and for each statement that does not wait for a lock.
   * @default '1s'
   */
  readonly commandTimeout?: Duration;
  /**
   * `'session'` when the connections pass through a pooler that keeps each on one backend for as long as it lasts. Any
   * other pooler is refused at the first connection.
   * @default 'none'
   */
  readonly pooler?: 'none' | 'session';
};

export type PostgresLockServer =
  | {
      /** `postgres://user@host:5432/database`, of the server itself and the database of `SqlModule`. `pg` must be installed. */
      readonly url: string;
    }
  | {
      /** Makes a client of `pg` that is not connected yet, for what a URL cannot say. Let it keep the connection alive. */
      readonly client: () => LockClient | Promise<LockClient>;
    };

/** The options made from what the container holds, such as a `ConfigService`. */
export interface PostgresLockFactory {
  readonly inject?: readonly (InjectionToken | OptionalFactoryDependency)[];
  // biome-ignore lint/suspicious/noExplicitAny: the types of the injected values are known to the factory alone
  useFactory(...dependencies: any[]): PostgresLockOptions | Promise<PostgresLockOptions>;
}

export interface ResolvedPostgresLockOptions {
  readonly createClient: () => LockClient | Promise<LockClient>;
  /** The 64 bits of a name. */
  readonly keyOf: (key: string) => bigint;
  readonly waiters: number;
  readonly commandTimeoutMs: number;
  readonly allowsSessionPooler: boolean;
}

const TIMEOUT = { minMs: 10, maxMs: 60_000 };
const MOST_WAITERS = 1_000;

/** @throws ConfigurationError naming the option and its value */
export async function resolvePostgresLockOptions(options: PostgresLockOptions): Promise<ResolvedPostgresLockOptions> {
  const { namespace = 'lockstep', waiters = 5, commandTimeout = '1s', pooler = 'none' } = options;
  if (typeof namespace !== 'string' || namespace.includes('\0')) {
    throw ConfigurationError.option('namespace', namespace, 'a text');
  }
  if (!Number.isInteger(waiters) || waiters < 1 || waiters > MOST_WAITERS) {
    throw ConfigurationError.option('waiters', waiters, `a whole number from 1 to ${MOST_WAITERS}`);
  }
  if (pooler !== 'none' && pooler !== 'session') {
    throw ConfigurationError.option('pooler', pooler, "'none' or 'session'");
  }
  const commandTimeoutMs = durationMs(commandTimeout, 'commandTimeout', TIMEOUT);
  return Object.freeze({
    createClient: await clientSource(options, commandTimeoutMs),
    keyOf: (key: string) => advisoryKey(namespace, key),
    waiters,
    commandTimeoutMs,
    allowsSessionPooler: pooler === 'session',
  });
}

async function clientSource(
  server: PostgresLockServer,
  commandTimeoutMs: number,
): Promise<() => LockClient | Promise<LockClient>> {
  const { url, client } = server as { readonly url?: unknown; readonly client?: unknown };
  if (typeof client === 'function') return client as () => LockClient;
  if (typeof url === 'string' && /^postgres(ql)?:\/\//.test(url)) return clientsOf(url, commandTimeoutMs);
  // Without the value: a URL carries a password.
  throw new ConfigurationError("postgresLockStore needs a `url` that begins with 'postgres://', or a `client`.");
}
