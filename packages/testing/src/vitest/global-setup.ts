import { startMariaDb } from '../servers/mariadb.server.js';
import { startNats } from '../servers/nats.server.js';
import { startPostgres } from '../servers/postgres.server.js';
import { startRedis } from '../servers/redis.server.js';
import { offerOnDemand } from './on-demand-server.js';
import { TEST_MARIADB_URL, TEST_NATS_URL, TEST_POSTGRES_URL, TEST_REDIS_URL } from './server-urls.js';

interface Stoppable {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Vitest's global setup: one Redis and one Postgres for the whole run, one MariaDB and one NATS as soon as a spec asks
 * for it. `REDIS_URL`, `DATABASE_URL`, `MARIADB_URL` and `NATS_URL` win over starting our own. A server that cannot be had
 * fails the run here (MariaDB and NATS: the specs that ask for it), with the message that says what to install.
 * Set `LOCKSTEP_TEST_SERVERS=none` to run specs that need no server without one.
 */
export default async function setup(): Promise<() => Promise<void>> {
  if (process.env.LOCKSTEP_TEST_SERVERS === 'none') return async () => undefined;
  const started: Stoppable[] = [];
  try {
    await provide(TEST_REDIS_URL, process.env.REDIS_URL, startRedis, started);
    // Each spec file has its own database and pools: the default of 100 connections is soon gone.
    const generous = { max_connections: '300' };
    await provide(TEST_POSTGRES_URL, process.env.DATABASE_URL, () => startPostgres({ settings: generous }), started);
    const mariaDb = () => offerOnDemand(() => startMariaDb({ settings: generous }));
    await provide(TEST_MARIADB_URL, process.env.MARIADB_URL, mariaDb, started);
    await provide(TEST_NATS_URL, process.env.NATS_URL, () => offerOnDemand(() => startNats()), started);
  } catch (error) {
    await stopAll(started);
    throw error;
  }
  return () => stopAll(started);
}

/** Workers inherit the environment of the process that runs the global setup. */
async function provide(
  variable: string,
  existing: string | undefined,
  start: () => Promise<Stoppable>,
  started: Stoppable[],
): Promise<void> {
  if (process.env[variable] !== undefined) return; // a second project of the same run
  if (existing !== undefined && existing !== '') {
    process.env[variable] = existing;
    return;
  }
  const server = await start();
  started.push(server);
  process.env[variable] = server.url;
}

async function stopAll(servers: readonly Stoppable[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}
