import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { Client } from 'pg';

const ANSWER_TIMEOUT_MS = 3_000;

/** Something that the demo was told to use cannot be used; the message is all that its user needs. */
export class PreflightError extends Error {
  override readonly name = 'PreflightError';
}

/** @throws PreflightError when somebody else listens there */
export async function assertPortIsFree(port: number): Promise<void> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    const why = codeOf(error) === 'EADDRINUSE' ? 'is in use' : `cannot be used (${codeOf(error) ?? 'unknown reason'})`;
    const other = port < 1_024 || port === 65_535 ? 3_001 : port + 1;
    throw new PreflightError(`Port ${port} ${why}; try PORT=${other} npm run demo`);
  }
  server.close();
  await once(server, 'close');
}

/** @throws PreflightError when a server that the environment names does not answer within three seconds */
export async function assertServersAnswer({ DATABASE_URL, REDIS_URL }: NodeJS.ProcessEnv): Promise<void> {
  await Promise.all([
    DATABASE_URL ? assertAnswers('DATABASE_URL', 'Postgres', DATABASE_URL, askPostgres) : undefined,
    REDIS_URL ? assertAnswers('REDIS_URL', 'Redis', REDIS_URL, askRedis) : undefined,
  ]);
}

async function assertAnswers(
  variable: string,
  server: string,
  url: string,
  ask: (url: string) => Promise<void>,
): Promise<void> {
  try {
    await ask(url);
  } catch (error) {
    const where = `${server} at ${addressOf(url)} (${variable})`;
    throw new PreflightError(
      `No answer from ${where}: ${reasonOf(error, url)}. Start it, mend ${variable} or unset it.`,
    );
  }
}

async function askPostgres(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: ANSWER_TIMEOUT_MS });
  await client.connect();
  await client.end();
}

async function askRedis(url: string): Promise<void> {
  const redis = new Redis(url, { lazyConnect: true, disconnectTimeout: 100, retryStrategy: () => null });
  let cause: unknown;
  redis.on('error', (error) => {
    cause = error;
  });
  const deadline = setTimeout(() => {
    cause = new Error(`silent for ${ANSWER_TIMEOUT_MS / 1_000} s`);
    redis.disconnect();
  }, ANSWER_TIMEOUT_MS);
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    // connect() itself only says that the connection is closed.
    throw cause ?? error;
  } finally {
    clearTimeout(deadline);
    redis.disconnect();
  }
}

/** Host and port alone: the rest of the URL may hold a password. */
function addressOf(url: string): string {
  return (URL.canParse(url) && new URL(url).host) || 'an address that cannot be read';
}

function reasonOf(error: unknown, url: string): string {
  // The address of a URL that cannot be read may come back in the message, password and all.
  const message = error instanceof Error && URL.canParse(url) ? error.message : '';
  return codeOf(error) ?? (message.replace(/\.+$/, '') || 'it cannot be connected to');
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' && code.startsWith('E') ? code : undefined;
}
