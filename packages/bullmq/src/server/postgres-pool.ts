import { ConfigurationError } from '@lockstep/core';
import type { PgPoolClient, PgQueryable } from 'bullmq';
import type { ResolvedServerOptions } from '../bullmq.options.js';

/** What is needed of a `pg.Pool`. */
export interface PostgresPoolLike {
  // biome-ignore lint/suspicious/noExplicitAny: pg's own overloads fit no narrower shape
  query(text: string, values?: any[]): Promise<{ rows: any[] }>;
  connect(): Promise<{ release(destroy?: boolean): void }>;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

export type ResolvedPostgres = Extract<ResolvedServerOptions, { kind: 'postgres' }>;

/** Where BullMQ's statements run. */
export interface PostgresConnections {
  readonly pool: PgQueryable;
  /** A connection for a session of its own: a migration or a `LISTEN`. The caller releases it. */
  dedicated(): Promise<PgPoolClient>;
  end(): Promise<void>;
}

/** Longer than any command's own deadline: notices a connection that died without a word. */
const SILENT_CONNECTION_MS = 15_000;

/** @param onError hears of connections that fail while nobody uses them */
export async function postgresConnections(
  options: ResolvedPostgres,
  timeoutMs: number,
  onError: (error: unknown) => void,
): Promise<PostgresConnections> {
  const { source } = options;
  if ('pool' in source) {
    const { pool } = source;
    pool.on('error', onError);
    return {
      pool: pool as PgQueryable,
      dedicated: async () => (await pool.connect()) as PgPoolClient,
      end: async () => undefined,
    };
  }
  const { Pool, Client } = await loadPg();
  const config = {
    connectionString: source.url,
    connectionTimeoutMillis: timeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    query_timeout: SILENT_CONNECTION_MS,
    options: `-c search_path="${options.schema}"`,
  };
  const pool = new Pool({ ...config, max: options.maxConnections });
  pool.on('error', onError);
  return {
    pool: pool as PgQueryable,
    dedicated: async () => {
      const client = new Client(config);
      client.on('error', onError);
      await client.connect();
      // It belongs to no pool, so to release it is to end it.
      return Object.assign(client, { release: () => void client.end().catch(onError) }) as unknown as PgPoolClient;
    },
    end: () => pool.end(),
  };
}

async function loadPg(): Promise<Pick<typeof import('pg'), 'Pool' | 'Client'>> {
  try {
    return (await import('pg')).default;
  } catch (cause) {
    throw new ConfigurationError("BullMQ on Postgres by 'postgres.url' needs the package 'pg': npm install pg", cause);
  }
}
