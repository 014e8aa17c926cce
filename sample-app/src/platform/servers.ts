import { ServerNotAvailableError, type ServerSource, startPostgres, startRedis } from '@lockstep/testing';

/** The servers that the mall runs on: those of the environment, else some that end with the program. */
export interface MallServers {
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  /** What was chosen, a line each. */
  readonly notes: readonly string[];
  stop(): Promise<void>;
}

const SOURCES: Record<ServerSource, string> = {
  env: 'the environment',
  path: 'PATH',
  npm: 'npm',
  apt: 'apt',
  docker: 'Docker',
};

interface Found {
  readonly url: string | undefined;
  readonly note: string;
  stop(): Promise<void>;
}

/** @throws ServerNotAvailableError saying what to install when there is no Postgres at all */
export async function findServers(env: NodeJS.ProcessEnv): Promise<MallServers> {
  const [postgres, redis] = await Promise.all([findPostgres(env.DATABASE_URL), findRedis(env.REDIS_URL)]);
  return {
    databaseUrl: postgres.url,
    redisUrl: redis.url,
    notes: [postgres.note, redis.note],
    stop: async () => {
      await Promise.all([postgres.stop(), redis.stop()]);
    },
  };
}

async function findPostgres(url: string | undefined): Promise<Found & { readonly url: string }> {
  if (url)
    return {
      url,
      note: "Postgres: the one of DATABASE_URL; the mall's tables are written there",
      stop: async () => undefined,
    };
  const server = await startPostgres({ fsync: true });
  return {
    url: await server.createDatabase('mall'),
    note: `Postgres: started for this run, from ${SOURCES[server.located.source]}`,
    stop: () => server.stop(),
  };
}

async function findRedis(url: string | undefined): Promise<Found> {
  if (url) return { url, note: 'Redis: the one of REDIS_URL', stop: async () => undefined };
  try {
    const server = await startRedis({ appendonly: 'everysec', args: ['--maxmemory-policy', 'noeviction'] });
    const note = `Redis: started for this run, from ${SOURCES[server.located.source]}`;
    return { url: server.url, note, stop: () => server.stop() };
  } catch (error) {
    if (!(error instanceof ServerNotAvailableError)) throw error;
    const note = 'Redis: none to be had; idempotency, locks and BullMQ are on Postgres';
    return { url: undefined, note, stop: async () => undefined };
  }
}
