import { type BullmqServerOptions, bullmqTransport } from '@lockstep/bullmq';
import type { DriverProvider } from '@lockstep/core';
import type { MessageTransport, OutboxStore } from '@lockstep/outbox';
import { mariadbOutboxStore } from '@lockstep/outbox/mariadb';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import type { SqlDriver } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';
import { type PostgresServer, type RedisServer, startMariaDb, startPostgres, startRedis } from '@lockstep/testing';

interface DatabaseChoice {
  start(): Promise<Pick<PostgresServer, 'url' | 'stop' | 'kill' | 'restart' | 'createDatabase'>>;
  driver(url: string): DriverProvider<SqlDriver>;
  store(): DriverProvider<OutboxStore>;
}

const MAX_CONNECTIONS = 8;

/** Where the outbox stands. What it has acknowledged is there after a SIGKILL. */
export const DATABASES = {
  postgres: {
    start: () => startPostgres({ settings: { synchronous_commit: 'on' } }),
    driver: (url) => pgDriver({ url, maxConnections: MAX_CONNECTIONS }),
    store: postgresOutboxStore,
  },
  mariadb: {
    start: () => startMariaDb(),
    driver: (url) => mariadbDriver({ url, maxConnections: MAX_CONNECTIONS }),
    store: mariadbOutboxStore,
  },
} satisfies Record<string, DatabaseChoice>;

interface BrokerChoice {
  start(): Promise<Pick<RedisServer | PostgresServer, 'url' | 'stop' | 'kill' | 'restart'>>;
  options(url: string): BullmqServerOptions;
}

/** What carries the messages. */
export const BROKERS = {
  'bullmq-redis': {
    start: () => startRedis({ appendonly: 'always', args: ['--maxmemory-policy', 'noeviction'] }),
    options: (url) => ({ redis: { url } }),
  },
  'bullmq-postgres': {
    start: () => startPostgres({ settings: { synchronous_commit: 'on' } }),
    options: (url) => ({ postgres: { url, maxConnections: MAX_CONNECTIONS } }),
  },
} satisfies Record<string, BrokerChoice>;

export type DatabaseName = keyof typeof DATABASES;
export type BrokerName = keyof typeof BROKERS;

const LOCK_DURATION = '1s';

export function transportOf(broker: BrokerName, url: string, namespace: string): DriverProvider<MessageTransport> {
  return bullmqTransport({ ...BROKERS[broker].options(url), namespace, lockDuration: LOCK_DURATION });
}

/** @throws RangeError naming what there is */
export function chosen<Name extends string>(choices: Readonly<Record<Name, unknown>>, name: string): Name {
  if (Object.hasOwn(choices, name)) return name as Name;
  throw new RangeError(`${name} is none of ${Object.keys(choices).join(', ')}`);
}
