import { ConfigurationError } from '@lockstep/core';
import type { PgResult } from '@lockstep/sql/postgres';

/** What is needed of a client of `pg` that is not connected yet; a type by shape. */
export interface LockClient {
  connect(): Promise<unknown>;
  query(statement: { readonly name?: string; readonly text: string; readonly values: unknown[] }): Promise<PgResult>;
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  on(event: 'notification', listener: (message: LockNotification) => void): unknown;
  /** What the server called itself when the connection began. */
  readonly processID?: number | null;
  readonly connection?: { readonly stream?: { destroy(): unknown } };
}

export interface LockNotification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

/** After so long without a packet the system asks whether the server is still there; it gives up 10 s later. */
const KEEP_ALIVE_MS = 10_000;

/** Makes clients of `pg` on `url`. @throws ConfigurationError when `pg` is not installed */
export async function clientsOf(url: string, connectionTimeoutMillis: number): Promise<() => LockClient> {
  const Client = await importClient();
  return () =>
    new Client({
      connectionString: url,
      connectionTimeoutMillis,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      fallback_application_name: 'lockstep-lock',
    });
}

async function importClient(): Promise<typeof import('pg').Client> {
  try {
    return (await import('pg')).default.Client;
  } catch (cause) {
    throw new ConfigurationError(
      'postgresLockStore({ url }) needs the package pg; install it, or pass a client.',
      cause,
    );
  }
}
